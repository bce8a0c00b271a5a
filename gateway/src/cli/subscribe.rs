//! `weir subscribe`: recommendations as they change, until Ctrl-C.

use super::{
    CliError, CliResult,
    output::{Connection, Format, block_on, display_name, recommendation_json},
};
use crate::proto::v1::{
    SubscribeRequest, Update, recommendations_client::RecommendationsClient,
    subscribe_response::Kind,
};
use serde_json::json;
use std::io::Write;

/// Print recommendations as they change, until Ctrl-C
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A user to watch; may be given several times. Without it: every user.
    #[arg(long, short)]
    user: Vec<String>,
    /// How many items a list.
    #[arg(short, default_value_t = 10)]
    k: u32,
    /// Go on after this position, as printed by an earlier run.
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    after: u64,
    /// Stop after this many lists.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(args: Args) -> CliResult {
    block_on(async {
        tokio::select! {
            result = follow(&args) => result,
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    })
}

async fn follow(args: &Args) -> CliResult {
    let mut client = RecommendationsClient::new(args.connection.streaming_channel().await?);
    let request = SubscribeRequest {
        user_ids: args.user.clone(),
        k: args.k,
        after_position: args.after,
    };
    let mut stream = client.subscribe(request).await?.into_inner();
    let mut received = 0;
    while args.limit.is_none_or(|limit| received < limit) {
        let Some(response) = stream.message().await? else {
            return Err(CliError::Failed("the gateway ended the stream".to_owned()));
        };
        match response.kind {
            Some(Kind::Update(update)) => {
                received += 1;
                if print(args.format, &update).is_err() {
                    // Whoever read our output has gone: as good as Ctrl-C.
                    return Ok(());
                }
            }
            Some(Kind::Gap(gap)) => eprintln!(
                "updates up to position {} are no longer kept",
                gap.up_to_position
            ),
            Some(Kind::Closing(closing)) => {
                return Err(CliError::Failed(format!(
                    "the gateway ended the stream: {} (go on with --after {})",
                    closing.reason, closing.resume_position
                )));
            }
            None => {}
        }
    }
    Ok(())
}

fn print(format: Format, update: &Update) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match format {
        Format::Json => {
            let line = json!({
                "user_id": update.user_id,
                "position": update.position,
                "recommendations":
                    update.recommendations.iter().map(recommendation_json).collect::<Vec<_>>(),
            });
            writeln!(out, "{line}")
        }
        Format::Table => {
            writeln!(out, "{} (position {})", update.user_id, update.position)?;
            for recommendation in &update.recommendations {
                writeln!(
                    out,
                    "  {:>2}. {:<36} {:>8.4}  {}",
                    recommendation.rank,
                    display_name(recommendation),
                    recommendation.score,
                    recommendation.reason
                )?;
            }
            out.flush()
        }
    }
}
