//! Recommendations: lists and profiles, asked for or streamed.

use super::responses::Responses;
use crate::{
    convert,
    error::Error,
    gateway::Gateway,
    hub::Interest,
    proto::v1::{
        ExplainRequest, ExplainResponse, GetProfileRequest, GetProfileResponse, RecommendRequest,
        RecommendResponse, SubscribeRequest, SubscribeResponse,
        recommendations_server::Recommendations,
    },
    status::invalid_field,
};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Debug)]
pub(crate) struct RecommendService(pub(crate) Arc<Gateway>);

/// Items of one list.
const MAX_K: u32 = 500;
/// Users one subscription may name.
const MAX_USERS: usize = 1_000;

#[tonic::async_trait]
impl Recommendations for RecommendService {
    async fn recommend(
        &self,
        request: Request<RecommendRequest>,
    ) -> Result<Response<RecommendResponse>, Status> {
        let RecommendRequest {
            user_id,
            k,
            min_position,
        } = request.into_inner();
        check_user("user_id", &user_id)?;
        let k = list_length(k)?;
        let list = self.0.list(&user_id, k, min_position).await?;
        Ok(Response::new(RecommendResponse {
            recommendations: list.recommendations,
        }))
    }

    async fn explain(
        &self,
        request: Request<ExplainRequest>,
    ) -> Result<Response<ExplainResponse>, Status> {
        let ExplainRequest {
            user_id,
            item_id,
            k,
            min_position,
        } = request.into_inner();
        check_user("user_id", &user_id)?;
        match recsys::ItemId::new(item_id.as_str()) {
            Ok(_) => {}
            Err(recsys::Error::Invalid { problem, .. }) => {
                return Err(invalid_field("item_id", problem));
            }
            Err(error) => return Err(Error::from(error).into()),
        }
        let k = list_length(k)?;
        let explanation = self.0.explain(&user_id, &item_id, k, min_position);
        let explanation = explanation.await?;
        Ok(Response::new(convert::explanation_to_proto(&explanation)))
    }

    type SubscribeStream = Responses<SubscribeResponse>;

    async fn subscribe(
        &self,
        request: Request<SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let SubscribeRequest {
            user_ids,
            k,
            after_position,
        } = request.into_inner();
        if user_ids.len() > MAX_USERS {
            return Err(invalid_field(
                "user_ids",
                format!(
                    "{}, at most {MAX_USERS}; leave them out for every user",
                    user_ids.len()
                ),
            ));
        }
        for user in &user_ids {
            check_user("user_ids", user)?;
        }
        let k = list_length(k)?;
        let gateway = Arc::clone(&self.0);
        let interest = Interest {
            users: user_ids.clone(),
            k,
            after: after_position,
        };
        let position = gateway.job.position();
        let (id, stream, gone) = gateway.hub.subscribe(interest, position)?;
        self.0.tasks.spawn(async move {
            let present = async {
                for user in user_ids {
                    // A user nobody has seen has a list too; a job that is restarting sends later.
                    if let Ok(update) = gateway.job.list(&user, k, 0).await {
                        gateway.hub.send_present(id, update);
                    }
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = present => {}
                () = gone => {}
                () = gateway.closing.cancelled() => return,
            }
            gateway.hub.remove(id);
        });
        Ok(Response::new(stream))
    }

    async fn get_profile(
        &self,
        request: Request<GetProfileRequest>,
    ) -> Result<Response<GetProfileResponse>, Status> {
        let GetProfileRequest {
            user_id,
            history,
            min_position,
        } = request.into_inner();
        check_user("user_id", &user_id)?;
        let history = if history == 0 { 50 } else { history as usize };
        let profile = self.0.profile(&user_id, history, min_position).await?;
        let profile = profile
            .ok_or_else(|| Status::not_found(format!("no event of user {user_id:?} yet")))?;
        let mut interests: Vec<_> = profile.interests.iter().collect();
        interests.sort_by(|a, b| b.1.total_cmp(a.1).then_with(|| a.0.cmp(b.0)));
        let top_interests = interests
            .into_iter()
            .take(5)
            .map(|(name, _)| name.clone())
            .collect();
        Ok(Response::new(GetProfileResponse {
            profile: Some(profile),
            top_interests,
        }))
    }
}

pub(super) fn check_user(field: &str, user: &str) -> Result<(), Status> {
    match recsys::UserId::new(user) {
        Ok(_) => Ok(()),
        Err(recsys::Error::Invalid { problem, .. }) => Err(invalid_field(field, problem)),
        Err(error) => Err(Error::from(error).into()),
    }
}

pub(super) fn list_length(k: u32) -> Result<usize, Status> {
    match k {
        0 => Ok(10),
        1..=MAX_K => Ok(k as usize),
        _ => Err(invalid_field("k", format!("{k}, at most {MAX_K}"))),
    }
}
