//! A gateway inside a program: two events in, one list out.

use gateway::{
    Config, Server,
    client::{Producer, ProducerOptions},
    proto::v1::{
        EventType, RecommendRequest, UserEvent, recommendations_client::RecommendationsClient,
    },
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let mut config = Config::default();
    config.data_dir = dir.path().join("data");
    config.listen = "127.0.0.1:0".parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let server = Server::start(config).await?;
        let address = format!("http://{}", server.address());

        let mut shop = Producer::connect(&address, ProducerOptions::new("shop")).await?;
        let mut events = Vec::new();
        for (user, item) in [("ann", "lamp"), ("ann", "desk"), ("bob", "lamp")] {
            events.push(UserEvent {
                user_id: user.to_owned(),
                item_id: item.to_owned(),
                event_type: EventType::Click.into(),
                timestamp_ms: 1_700_000_000_000,
                ..UserEvent::default()
            });
        }
        shop.send(events).await?;
        let sent = shop.close().await?;

        let request = RecommendRequest {
            user_id: "bob".to_owned(),
            k: 3,
            min_position: sent.log_position,
        };
        let mut lists = RecommendationsClient::connect(address).await?;
        for item in lists.recommend(request).await?.into_inner().recommendations {
            println!("{}. {} ({})", item.rank, item.item_id, item.reason);
        }
        server.run_until(async {}).await?;
        Ok(())
    })
}
