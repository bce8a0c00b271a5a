//! `weir recommend`: the best items for one user, now.

use super::{
    CliResult,
    output::{Connection, Format, block_on, display_name, recommendation_json, table},
};
use crate::proto::v1::{RecommendRequest, recommendations_client::RecommendationsClient};

/// Ask a running gateway for the best items for a user
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The user.
    #[arg(long, short)]
    user: String,
    /// How many items.
    #[arg(short, default_value_t = 10)]
    k: u32,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(args: Args) -> CliResult {
    let list = block_on(async {
        let mut client = RecommendationsClient::new(args.connection.channel().await?);
        let request = RecommendRequest {
            user_id: args.user.clone(),
            k: args.k,
            min_position: 0,
        };
        Ok(client
            .recommend(request)
            .await?
            .into_inner()
            .recommendations)
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
