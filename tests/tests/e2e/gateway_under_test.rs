//! A gateway in this process, on a directory and a port of its own.

use gateway::{
    Backend, Config, Server,
    client::{Producer, ProducerOptions},
    proto::v1::{
        EventType, ExportUsersRequest, GetStatusRequest, Status, UserEvent, UserState,
        admin_client::AdminClient,
    },
};
use std::{path::Path, time::Duration};
use tokio::{sync::oneshot, task::JoinHandle};

pub(crate) struct Gateway {
    pub(crate) address: String,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<gateway::Result<()>>,
}

/// Defaults, but on `dir` and a free port.
pub(crate) fn config(dir: &Path, backend: Backend) -> Config {
    let mut config = Config::default();
    config.data_dir = dir.to_owned();
    config.backend = backend;
    config.listen = "127.0.0.1:0".parse().unwrap();
    config.checkpoint.interval = Duration::from_millis(200);
    config
}

impl Gateway {
    pub(crate) async fn start(config: Config) -> Self {
        let server = Server::start(config).await.unwrap();
        let address = format!("http://{}", server.address());
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(server.run_until(async {
            let _dropped = stopped.await;
        }));
        Self {
            address,
            stop,
            serving,
        }
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap().unwrap();
    }

    /// Asks it to stop without waiting for that.
    pub(crate) fn stopping(self) -> JoinHandle<gateway::Result<()>> {
        self.stop.send(()).unwrap();
        self.serving
    }

    pub(crate) async fn producer(&self, id: &str) -> Producer {
        Producer::connect(&self.address, ProducerOptions::new(id))
            .await
            .unwrap()
    }

    pub(crate) async fn status(&self) -> Status {
        let mut client = AdminClient::connect(self.address.clone()).await.unwrap();
        client
            .get_status(GetStatusRequest {})
            .await
            .unwrap()
            .into_inner()
    }

    /// Everything of these users, once all that was accepted has been processed.
    pub(crate) async fn export(&self, users: &[String]) -> Vec<UserState> {
        let end = self.status().await.log.unwrap().end_position;
        let mut client = AdminClient::connect(self.address.clone()).await.unwrap();
        let request = ExportUsersRequest {
            k: 10,
            min_position: end,
            user_ids: users.to_vec(),
        };
        let mut stream = client.export_users(request).await.unwrap().into_inner();
        let mut states = Vec::new();
        while let Some(state) = stream.message().await.unwrap() {
            states.push(state);
        }
        states
    }

    /// How many events of a user are counted.
    pub(crate) async fn count(&self, user: &str) -> u64 {
        let states = self.export(&[user.to_owned()]).await;
        states[0]
            .profile
            .as_ref()
            .map_or(0, |profile| profile.events)
    }
}

pub(crate) fn event(user: &str, item: &str) -> UserEvent {
    UserEvent {
        user_id: user.to_owned(),
        item_id: item.to_owned(),
        event_type: EventType::Click.into(),
        timestamp_ms: 1_700_000_000_000,
        ..UserEvent::default()
    }
}
