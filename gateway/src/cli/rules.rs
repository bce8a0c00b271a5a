//! `weir rules`: the business rules of a running gateway.

use super::{
    CliError, CliResult,
    output::{Connection, Format, block_on, table},
};
use crate::proto::v1::{GetRulesRequest, SetRulesRequest, steering_client::SteeringClient};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Show or change what a running gateway may recommend
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Print the rules in force
    Get {
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
        #[command(flatten)]
        connection: Connection,
    },
    /// Replace all rules by those of a JSON file
    Set {
        /// The file; `-` reads standard input.
        file: PathBuf,
        #[command(flatten)]
        connection: Connection,
    },
}

pub(crate) fn run(args: Args) -> CliResult {
    match args.action {
        Action::Get { format, connection } => get(format, &connection),
        Action::Set { file, connection } => set(&file, &connection),
    }
}

fn get(format: Format, connection: &Connection) -> CliResult {
    let document = block_on(async {
        let mut client = SteeringClient::new(connection.channel().await?);
        let request = GetRulesRequest { min_position: 0 };
        Ok(client.get_rules(request).await?.into_inner().rules_json)
    })?;
    if format == Format::Json {
        println!("{document}");
        return Ok(());
    }
    let rules: Value = serde_json::from_str(&document)
        .map_err(|error| CliError::Failed(format!("the answer is no JSON: {error}")))?;
    let mut rows = table(&["rule", "value"]);
    for (name, value) in rules.as_object().into_iter().flatten() {
        rows.add_row([name.clone(), value.to_string()]);
    }
    println!("{rows}");
    Ok(())
}

fn set(file: &Path, connection: &Connection) -> CliResult {
    let rules_json = read_document(file)?;
    let position = block_on(async {
        let mut client = SteeringClient::new(connection.channel().await?);
        let request = SetRulesRequest { rules_json };
        Ok(client.set_rules(request).await?.into_inner().log_position)
    })?;
    println!("the rules hold from log position {position}");
    Ok(())
}

/// A file, or standard input for `-`.
pub(super) fn read_document(file: &Path) -> Result<String, CliError> {
    let read = if file == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(file)
    };
    read.map_err(|error| CliError::Failed(format!("cannot read {}: {error}", file.display())))
}
