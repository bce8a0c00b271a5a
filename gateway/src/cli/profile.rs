//! `weir profile`: what the gateway knows of one user.

use super::{
    CliResult,
    output::{Connection, Format, block_on, instant, profile_json, table},
};
use crate::proto::v1::{GetProfileRequest, recommendations_client::RecommendationsClient};

/// Show what a running gateway knows of a user
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The user.
    #[arg(long, short)]
    user: String,
    /// Items of the history to show.
    #[arg(long, default_value_t = 20)]
    history: u32,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(args: Args) -> CliResult {
    let profile = block_on(async {
        let mut client = RecommendationsClient::new(args.connection.channel().await?);
        let request = GetProfileRequest {
            user_id: args.user.clone(),
            history: args.history,
            min_position: 0,
        };
        Ok(client
            .get_profile(request)
            .await?
            .into_inner()
            .profile
            .unwrap_or_default())
    })?;
    if args.format == Format::Json {
        println!("{}", profile_json(&profile));
        return Ok(());
    }
    println!(
        "user {}: {} events, the last at {}",
        profile.user_id,
        profile.events,
        instant(profile.last_updated_ms)
    );
    let mut interests: Vec<_> = profile.interests.iter().collect();
    interests.sort_by(|a, b| b.1.total_cmp(a.1).then_with(|| a.0.cmp(b.0)));
    let mut rows = table(&["interest", "strength"]);
    for (category, strength) in interests {
        rows.add_row([category.clone(), format!("{strength:.4}")]);
    }
    println!("{rows}");
    let mut rows = table(&["behaviour", "times"]);
    for (pattern, times) in &profile.behavior_patterns {
        rows.add_row([pattern.clone(), times.to_string()]);
    }
    println!("{rows}");
    let mut rows = table(&["history, newest first", "rating", "at"]);
    for entry in &profile.history {
        rows.add_row([
            entry.item_id.clone(),
            entry.rating.to_string(),
            instant(entry.timestamp_ms),
        ]);
    }
    println!("{rows}");
    Ok(())
}
