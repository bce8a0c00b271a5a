//! `weir experiments`: what the experiments of a running gateway have counted.

use super::{
    CliResult,
    output::{Connection, Format, block_on, table, thousands},
    rules::read_document,
};
use crate::proto::v1::{
    GetExperimentsRequest, SetExperimentsRequest, steering_client::SteeringClient,
};
use serde_json::json;
use std::path::PathBuf;

/// Show what the experiments of a running gateway have counted, or set other experiments
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Replace all experiments by those of a JSON file (`-`: standard input).
    #[arg(long, value_name = "FILE")]
    set: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(args: Args) -> CliResult {
    let document = args.set.as_deref().map(read_document).transpose()?;
    let reports = block_on(async {
        let mut client = SteeringClient::new(args.connection.channel().await?);
        let mut min_position = 0;
        if let Some(experiments_json) = document {
            let request = SetExperimentsRequest { experiments_json };
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
