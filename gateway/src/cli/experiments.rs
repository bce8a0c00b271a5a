//! `weir experiments`: what the experiments of a running gateway have counted.

use super::{
    CliError, CliResult,
    output::{Connection, Format, block_on, table, thousands},
    rules::read_document,
};
use crate::convert;
use crate::proto::v1::{
    GetExperimentsRequest, SetExperimentsRequest, steering_client::SteeringClient,
};
use recsys::Experiment;
use serde::Deserialize;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Show what the experiments of a running gateway have counted, or set other experiments
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Replace all experiments by those of a file: a JSON array (`-`: from standard input), or TOML
    /// with one [[experiment]] each.
    #[arg(long, value_name = "FILE")]
    set: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(args: Args) -> CliResult {
    let experiments = args.set.as_deref().map(read_experiments).transpose()?;
    let reports = block_on(async {
        let mut client = SteeringClient::new(args.connection.channel().await?);
        let mut min_position = 0;
        if let Some(experiments) = experiments {
            let experiments = experiments.iter().map(convert::experiment_to_proto);
            let request = SetExperimentsRequest {
                experiments: experiments.collect(),
            };
            min_position = client
                .set_experiments(request)
                .await?
                .into_inner()
                .log_position;
        }
        let request = GetExperimentsRequest { min_position };
        Ok(client.get_experiments(request).await?.into_inner().reports)
    })?;
    match args.format {
        Format::Json => {
            for report in &reports {
                let line = json!({
                    "experiment": report.experiment,
                    "variant": report.variant,
                    "impressions": report.impressions,
                    "outcomes": report.outcomes,
                    "rate": report.rate,
                    "interval": [report.rate_low, report.rate_high],
                });
                println!("{line}");
            }
        }
        Format::Table if reports.is_empty() => println!("no experiment runs"),
        Format::Table => {
            let header = [
                "experiment",
                "variant",
                "shown",
                "taken",
                "rate",
                "95 % interval",
            ];
            let mut rows = table(&header);
            for report in &reports {
                rows.add_row([
                    report.experiment.clone(),
                    report.variant.clone(),
                    thousands(report.impressions),
                    thousands(report.outcomes),
                    format!("{:.4}", report.rate),
                    format!("{:.4} to {:.4}", report.rate_low, report.rate_high),
                ]);
            }
            println!("{rows}");
        }
    }
    Ok(())
}

/// TOML has no arrays without a name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Toml {
    experiment: Vec<Experiment>,
}

fn read_experiments(file: &Path) -> Result<Vec<Experiment>, CliError> {
    if file.extension().is_some_and(|end| end == "toml") {
        let Toml { experiment } = read_document(file)?;
        return Ok(experiment);
    }
    read_document(file)
}
