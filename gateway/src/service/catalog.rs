//! Catalog: names and categories, changed while running.

use crate::{
    convert,
    error::Error,
    gateway::Gateway,
    proto::v1::{
        FieldViolation, GetItemRequest, GetItemResponse, UpsertItemsRequest, UpsertItemsResponse,
        catalog_server::Catalog,
    },
    status::{invalid, invalid_field},
};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Debug)]
pub(crate) struct CatalogService(pub(crate) Arc<Gateway>);

/// Items of one request.
const MAX_ITEMS: usize = 10_000;

#[tonic::async_trait]
impl Catalog for CatalogService {
    async fn upsert_items(
        &self,
        request: Request<UpsertItemsRequest>,
    ) -> Result<Response<UpsertItemsResponse>, Status> {
        let gateway = &self.0;
        if gateway.closing.is_cancelled() {
            return Err(Error::ShuttingDown.into());
        }
        let items = request.into_inner().items;
        if items.len() > MAX_ITEMS {
            return Err(invalid_field(
                "items",
                format!("{} in one request, at most {MAX_ITEMS}", items.len()),
            ));
        }
        let violations: Vec<FieldViolation> = items
            .iter()
            .enumerate()
            .flat_map(|(index, item)| {
                convert::item_violations(item)
                    .into_iter()
                    .map(move |violation| FieldViolation {
                        field: format!("items[{index}].{}", violation.field),
                        description: violation.description,
                    })
            })
            .collect();
        if !violations.is_empty() {
            return Err(invalid("items are not valid; none was taken", violations));
        }
        let upserted = u32::try_from(items.len()).unwrap_or(u32::MAX);
        let items = items
            .into_iter()
            .map(convert::item_to_domain)
            .collect::<crate::Result<Vec<_>>>()?;
        let log_position = gateway.upsert_items(items).await?;
        Ok(Response::new(UpsertItemsResponse {
            upserted,
            log_position,
        }))
    }

    async fn get_item(
        &self,
        request: Request<GetItemRequest>,
    ) -> Result<Response<GetItemResponse>, Status> {
        let id = request.into_inner().item_id;
        let catalogue = self.0.catalogue.read();
        let item = catalogue
            .get(&id)
            .ok_or_else(|| Status::not_found(format!("the catalogue has no item {id:?}")))?;
        Ok(Response::new(GetItemResponse {
            item: Some(convert::item_to_proto(item)),
        }))
    }
}
