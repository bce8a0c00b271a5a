//! `weir recommend`: the best items for one user, now.

use super::{
    CliResult,
    output::{Connection, Format, block_on, display_name, recommendation_json, table},
};
use crate::proto::v1::{
    RecommendRequest, RecordImpressionsRequest, recommendations_client::RecommendationsClient,
    steering_client::SteeringClient,
};
use time_engine::{Clock, SystemClock};

/// Ask a running gateway for the best items for a user
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The user.
    #[arg(long, short)]
    user: String,
    /// How many items.
    #[arg(short, default_value_t = 10)]
    k: u32,
    /// Record the list as shown to the user now, as an application does for its experiments.
    #[arg(long)]
    shown: bool,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(args: Args) -> CliResult {
    let list = block_on(async {
        let channel = args.connection.channel().await?;
        let mut client = RecommendationsClient::new(channel.clone());
        let request = RecommendRequest {
            user_id: args.user.clone(),
            k: args.k,
            min_position: 0,
        };
        let list = client
            .recommend(request)
            .await?
            .into_inner()
            .recommendations;
        if args.shown && !list.is_empty() {
            let shown = RecordImpressionsRequest {
                user_id: args.user,
                item_ids: list.iter().map(|item| item.item_id.clone()).collect(),
                timestamp_ms: SystemClock::new().now().as_millis(),
            };
            SteeringClient::new(channel)
                .record_impressions(shown)
                .await?;
        }
        Ok(list)
    })?;
    match args.format {
        Format::Json => {
            for recommendation in &list {
                println!("{}", recommendation_json(recommendation));
            }
        }
        Format::Table if list.is_empty() => println!("nothing to recommend yet"),
        Format::Table => {
            let mut rows = table(&["#", "item", "category", "score", "reason"]);
            for recommendation in &list {
                rows.add_row([
                    recommendation.rank.to_string(),
                    display_name(recommendation).to_owned(),
                    recommendation.category.clone(),
                    format!("{:.4}", recommendation.score),
                    recommendation.reason.clone(),
                ]);
            }
            println!("{rows}");
        }
    }
    Ok(())
}
