//! `weir explain`: why an item is, or is not, in a user's list.

use super::{
    CliResult,
    output::{Connection, Format, block_on, table},
};
use crate::proto::v1::{
    ExplainRequest, ExplainResponse, Outcome, recommendations_client::RecommendationsClient,
};
use serde_json::json;

/// Ask a running gateway why an item is, or is not, recommended to a user
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The user.
    #[arg(long, short)]
    user: String,
    /// The item.
    #[arg(long, short)]
    item: String,
    /// Length of the list in question.
    #[arg(short, default_value_t = 10)]
    k: u32,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(args: Args) -> CliResult {
    let explained = block_on(async {
        let mut client = RecommendationsClient::new(args.connection.channel().await?);
        let request = ExplainRequest {
            user_id: args.user.clone(),
            item_id: args.item.clone(),
            k: args.k,
            min_position: 0,
        };
        Ok(client.explain(request).await?.into_inner())
    })?;
    if args.format == Format::Json {
        let parts = explained.contributions.iter();
        let document = json!({
            "user_id": args.user,
            "item_id": args.item,
            "outcome": explained.outcome().as_str_name().trim_start_matches("OUTCOME_").to_lowercase(),
            "rank": (explained.rank > 0).then_some(explained.rank),
            "score": explained.score,
            "filtered_by": explained.filtered_by,
            "source": explained.source,
            "because": explained.because_item_id,
            "contributions": parts
                .map(|part| json!({"source": part.source, "score": part.score}))
                .collect::<Vec<_>>(),
        });
        println!("{document}");
        return Ok(());
    }
    println!("{}", sentence(&args, &explained));
    if !explained.because_item_id.is_empty() {
        println!("it follows most from {}", explained.because_item_id);
    }
    if let Some(score) = explained.score {
        let mut rows = table(&["source", "adds to the score"]);
        for part in &explained.contributions {
            rows.add_row([part.source.clone(), format!("{:+.4}", part.score)]);
        }
        rows.add_row(["sum".to_owned(), format!("{score:.4}")]);
        println!("{rows}");
    }
    Ok(())
}

fn sentence(args: &Args, explained: &ExplainResponse) -> String {
    let (item, user) = (&args.item, &args.user);
    match explained.outcome() {
        Outcome::Recommended => {
            format!("{item} is recommended to {user} at rank {}", explained.rank)
        }
        Outcome::UnknownItem => format!("{item} is not recommended: nobody has touched it yet"),
        Outcome::Seen => format!("{item} is not recommended: {user} has had it"),
        Outcome::Filtered => format!("{item} is kept back: {}", explained.filtered_by),
        Outcome::NoCandidate => format!("{item} is not recommended: no source names it for {user}"),
        Outcome::Outranked => format!(
            "{item} is not in the list of {}: rank {} by score, and the last item in it has {:.4}",
            args.k, explained.rank, explained.needed_score
        ),
        Outcome::Unspecified => format!("the gateway gives no reason for {item}"),
    }
}
