//! `weir export`: profiles and lists of all users, a line each.

use super::{
    CliError, CliResult,
    output::{Connection, block_on, profile_json, recommendation_json},
};
use crate::proto::v1::{ExportUsersRequest, UserState, admin_client::AdminClient};
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

/// Write what a running gateway keeps of its users as JSON lines: profile, history, recommendations
///
/// One user after the other as they come, so it takes no more memory for a million of them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to; standard output unless given. The file is there when it is complete.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Recommendations for each user, 0 to 500.
    #[arg(short, default_value_t = 10)]
    k: u32,
    /// Only this user; may be given several times.
    #[arg(long = "user", short, value_name = "USER")]
    users: Vec<String>,
    /// Wait until the job has processed the log up to here.
    #[arg(long, default_value_t = 0)]
    min_position: u64,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(args: Args) -> CliResult {
    let request = ExportUsersRequest {
        k: args.k,
        min_position: args.min_position,
        user_ids: args.users,
    };
    let connection = &args.connection;
    let Some(path) = args.output else {
        let mut out = BufWriter::new(std::io::stdout());
        write(request, connection, &mut out)?;
        return out.flush().map_err(failed(Path::new("standard output")));
    };
    let mut part = path.clone().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    let mut out = BufWriter::new(File::create(&part).map_err(failed(&part))?);
    let written = write(request, connection, &mut out);
    let written = written.and_then(|users| {
        let file = out
            .into_inner()
            .map_err(|e| failed(&part)(e.into_error()))?;
        file.sync_all().map_err(failed(&part))?;
        std::fs::rename(&part, &path).map_err(failed(&path))?;
        Ok(users)
    });
    match written {
        Ok(users) => eprintln!("{users} users are in {}", path.display()),
        Err(error) => {
            // Half an export under another name helps nobody; that it stays is no second failure.
            drop(std::fs::remove_file(&part));
            return Err(error);
        }
    }
    Ok(())
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> CliError {
    move |error| CliError::Failed(format!("cannot write {}: {error}", path.display()))
}

/// How many users were written.
fn write(
    request: ExportUsersRequest,
    connection: &Connection,
    out: &mut impl Write,
) -> Result<u64, CliError> {
    block_on(async {
        let mut client = AdminClient::new(connection.streaming_channel().await?);
        let mut stream = client.export_users(request).await?.into_inner();
        let mut users = 0;
        while let Some(state) = stream.message().await? {
            writeln!(out, "{}", line(&state)).map_err(failed(Path::new("the export")))?;
            users += 1;
        }
        Ok(users)
    })
}

fn line(state: &UserState) -> Value {
    let list = state.recommendations.iter().map(recommendation_json);
    json!({
        "user_id": state.user_id,
        "profile": state.profile.as_ref().map(profile_json),
        "recommendations": list.collect::<Vec<_>>(),
    })
}
