//! `weir rules`: the business rules of a running gateway.

use super::{
    CliError, CliResult,
    output::{Connection, Format, block_on, table},
};
use crate::convert;
use crate::error::chain;
use crate::proto::v1::{GetRulesRequest, SetRulesRequest, steering_client::SteeringClient};
use recsys::Rules;
use serde::de::DeserializeOwned;
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
    /// Replace all rules by those of a JSON or TOML file
    Set {
        /// The file, TOML if its name ends so; `-` reads JSON from standard input.
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
    let rules = block_on(async {
        let mut client = SteeringClient::new(connection.channel().await?);
        let request = GetRulesRequest { min_position: 0 };
        Ok(client.get_rules(request).await?.into_inner().rules)
    })?;
    let rules = convert::rules_from_proto(rules.unwrap_or_default())
        .and_then(|rules| Ok(serde_json::to_value(rules).map_err(recsys::Error::from)?))
        .map_err(|error| CliError::Failed(chain(&error)))?;
    if format == Format::Json {
        println!("{rules}");
        return Ok(());
    }
    let mut rows = table(&["rule", "value"]);
    for (name, value) in rules.as_object().into_iter().flatten() {
        rows.add_row([name.clone(), value.to_string()]);
    }
    println!("{rows}");
    Ok(())
}

fn set(file: &Path, connection: &Connection) -> CliResult {
    let rules: Rules = read_document(file)?;
    let rules = Some(convert::rules_to_proto(&rules));
    let position = block_on(async {
        let mut client = SteeringClient::new(connection.channel().await?);
        let request = SetRulesRequest { rules };
        Ok(client.set_rules(request).await?.into_inner().log_position)
    })?;
    println!("the rules hold from log position {position}");
    Ok(())
}

/// What a JSON or TOML file says, or JSON on standard input for `-`.
pub(super) fn read_document<T: DeserializeOwned>(file: &Path) -> Result<T, CliError> {
    let read = if file == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(file)
    };
    let name = file.display();
    let text = read.map_err(|error| CliError::Failed(format!("cannot read {name}: {error}")))?;
    if file.extension().is_some_and(|end| end == "toml") {
        toml::from_str(&text).map_err(|error| CliError::Usage(format!("{name}: {error}")))
    } else {
        serde_json::from_str(&text).map_err(|error| CliError::Usage(format!("{name}: {error}")))
    }
}
