//! The gRPC services: one a file.

mod admin;
mod catalog;
mod ingest;
mod recommend;
mod responses;
mod steering;

pub(crate) use admin::AdminService;
pub(crate) use catalog::CatalogService;
pub(crate) use ingest::IngestService;
pub(crate) use recommend::RecommendService;
pub(crate) use responses::{NotSent, Responder, Responses, responses};
pub(crate) use steering::SteeringService;
