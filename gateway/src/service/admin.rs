//! Admin: status, export, checkpoints by hand.

use super::{
    recommend::list_length,
    responses::{Responses, responses},
};
use crate::{
    error::Error,
    gateway::Gateway,
    proto::v1::{
        CheckpointStatus, ExportUsersRequest, GetStatusRequest, LogStatus, Status as WeirStatus,
        TriggerCheckpointRequest, TriggerCheckpointResponse, UserState, admin_server::Admin,
    },
    status::invalid_field,
};
use std::{sync::Arc, time::Duration};
use tonic::{Request, Response, Status};

/// The service.
#[derive(Debug)]
pub(crate) struct AdminService(pub(crate) Arc<Gateway>);

/// Users of one export.
const MAX_USERS: usize = 100_000;

#[tonic::async_trait]
impl Admin for AdminService {
    async fn get_status(
        &self,
        _: Request<GetStatusRequest>,
    ) -> Result<Response<WeirStatus>, Status> {
        Ok(Response::new(self.0.status()))
    }

    type ExportUsersStream = Responses<UserState>;

    async fn export_users(
        &self,
        request: Request<ExportUsersRequest>,
    ) -> Result<Response<Self::ExportUsersStream>, Status> {
        let ExportUsersRequest {
            k,
            min_position,
            user_ids,
        } = request.into_inner();
        if user_ids.len() > MAX_USERS {
            let text = format!("{}, at most {MAX_USERS}", user_ids.len());
            return Err(invalid_field("user_ids", text));
        }
        let lists = k > 0;
        let k = list_length(k)?;
        self.0.lists_reach(min_position).await?;
        self.0.profiles_reach(min_position).await?;
        let (responder, stream) = responses(16);
        let gateway = Arc::clone(&self.0);
        let stalled = self.0.config.limits.stalled;
        self.0.tasks.spawn(async move {
            // Of those asked for, or page by page of all: never more than a page is held.
            let all = user_ids.is_empty();
            let (mut page, mut next) = (user_ids, all.then_some(0));
            loop {
                for user in page {
                    match gateway.user_state(user, lists.then_some(k)).await {
                        Ok(state) => {
                            if responder.send(state, stalled).await.is_err() {
                                return;
                            }
                        }
                        Err(error) => return responder.end(error.into()),
                    }
                }
                let Some(from) = next else { return };
                match gateway.job.users(from).await {
                    Ok((users, after)) => (page, next) = (users, after),
                    Err(error) => return responder.end(error.into()),
                }
            }
        });
        Ok(Response::new(stream))
    }

    async fn trigger_checkpoint(
        &self,
        _: Request<TriggerCheckpointRequest>,
    ) -> Result<Response<TriggerCheckpointResponse>, Status> {
        let (checkpoint_id, log_position) = self.0.job.checkpoint().await?;
        Ok(Response::new(TriggerCheckpointResponse {
            checkpoint_id,
            log_position,
        }))
    }
}

impl Gateway {
    /// Everything kept for a user, with a list of so many.
    async fn user_state(&self, user_id: String, k: Option<usize>) -> Result<UserState, Error> {
        let profile = self.job.profile(&user_id, usize::MAX, 0).await?;
        let recommendations = match k {
            Some(k) => self.job.list(&user_id, k, 0).await?.recommendations,
            None => Vec::new(),
        };
        Ok(UserState {
            user_id,
            profile,
            recommendations,
        })
    }

    /// Everything an operator of the gateway looks at first.
    pub(crate) fn status(&self) -> WeirStatus {
        let log = self.log.stats();
        let job = self.job.figures();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        WeirStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            backend: self.config.backend.as_str().to_owned(),
            uptime_ms: millis(self.clock.elapsed().saturating_sub(self.started)),
            log: Some(LogStatus {
                first_position: log.first,
                end_position: log.end,
                bytes: log.bytes,
                segments: u32::try_from(log.segments).unwrap_or(u32::MAX),
                producers: u32::try_from(log.producers).unwrap_or(u32::MAX),
            }),
            processed_position: self.job.position(),
            watermark_ms: job.watermark_ms,
            checkpoint: Some(CheckpointStatus {
                completed: job.completed,
                failed: job.failed,
                last_id: job.last_id,
                last_bytes: job.last_bytes,
                last_duration_ms: job.last_duration_ms,
                last_completed_ms: job.last_completed_ms,
                last_position: job.last_position,
            }),
            dead_letters: log.rejected,
            subscribers: u32::try_from(self.hub.len()).unwrap_or(u32::MAX),
            duplicates: log.duplicates,
            restarts: job.restarts,
        }
    }
}
