//! Steering: rules and experiments, changed while running.

use super::recommend::check_user;
use crate::{
    convert,
    error::{Error, chain},
    gateway::Gateway,
    proto::{
        log::entry,
        v1::{
            GetExperimentsRequest, GetExperimentsResponse, GetRulesRequest, GetRulesResponse,
            RecordImpressionsRequest, RecordImpressionsResponse, SetExperimentsRequest,
            SetExperimentsResponse, SetRulesRequest, SetRulesResponse, steering_server::Steering,
        },
    },
    status::invalid_field,
};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Debug)]
pub(crate) struct SteeringService(pub(crate) Arc<Gateway>);

/// Encoded bytes of the rules, or of all experiments: they lie in one record of the log.
const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// Items of one report of impressions.
const MAX_IMPRESSIONS: usize = 500;

#[tonic::async_trait]
impl Steering for SteeringService {
    async fn get_rules(
        &self,
        request: Request<GetRulesRequest>,
    ) -> Result<Response<GetRulesResponse>, Status> {
        self.0
            .lists_reach(request.into_inner().min_position)
            .await?;
        let rules = self.0.job.rules().await?;
        Ok(Response::new(GetRulesResponse {
            rules: Some(convert::rules_to_proto(&rules)),
        }))
    }

    async fn set_rules(
        &self,
        request: Request<SetRulesRequest>,
    ) -> Result<Response<SetRulesResponse>, Status> {
        let request = request.into_inner();
        check("rules", &request, convert::rules_to_domain)?;
        let log_position = self.0.record(entry::Kind::Rules(request)).await?;
        Ok(Response::new(SetRulesResponse { log_position }))
    }

    async fn get_experiments(
        &self,
        request: Request<GetExperimentsRequest>,
    ) -> Result<Response<GetExperimentsResponse>, Status> {
        self.0
            .lists_reach(request.into_inner().min_position)
            .await?;
        let (experiments, reports) = self.0.job.experiments().await?;
        Ok(Response::new(GetExperimentsResponse {
            experiments: experiments
                .iter()
                .map(convert::experiment_to_proto)
                .collect(),
            reports: reports.iter().map(convert::report_to_proto).collect(),
        }))
    }

    async fn set_experiments(
        &self,
        request: Request<SetExperimentsRequest>,
    ) -> Result<Response<SetExperimentsResponse>, Status> {
        let request = request.into_inner();
        check("experiments", &request, convert::experiments_to_domain)?;
        let kind = entry::Kind::Experiments(request);
        let log_position = self.0.record(kind).await?;
        Ok(Response::new(SetExperimentsResponse { log_position }))
    }

    async fn record_impressions(
        &self,
        request: Request<RecordImpressionsRequest>,
    ) -> Result<Response<RecordImpressionsResponse>, Status> {
        let shown = request.into_inner();
        check_user("user_id", &shown.user_id)?;
        if shown.item_ids.len() > MAX_IMPRESSIONS {
            let text = format!("{}, at most {MAX_IMPRESSIONS}", shown.item_ids.len());
            return Err(invalid_field("item_ids", text));
        }
        if shown.timestamp_ms <= 0 {
            let text = format!("{} is missing or before 1970", shown.timestamp_ms);
            return Err(invalid_field("timestamp_ms", text));
        }
        if let Err(error) = convert::impressions_to_domain(shown.clone()) {
            return Err(invalid_field("item_ids", chain(&error)));
        }
        let log_position = self.0.record(entry::Kind::Impressions(shown)).await?;
        Ok(Response::new(RecordImpressionsResponse { log_position }))
    }
}

/// What is in the log must be readable: so nothing comes in that is not.
fn check<M: prost::Message + Clone>(
    field: &str,
    message: &M,
    convert: impl FnOnce(M) -> crate::Result<recsys::Command>,
) -> Result<(), Status> {
    let bytes = message.encoded_len();
    if bytes > MAX_MESSAGE_BYTES {
        let text = format!("{bytes} bytes, at most {MAX_MESSAGE_BYTES}");
        return Err(invalid_field(field, text));
    }
    match convert(message.clone()) {
        Ok(_) => Ok(()),
        Err(Error::Recsys(recsys::Error::Invalid { field: at, problem })) => {
            Err(invalid_field(&format!("{field}.{at}"), problem))
        }
        Err(error) => Err(invalid_field(field, chain(&error))),
    }
}
