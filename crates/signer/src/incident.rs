//! The span that says that a log is not signed any more.

use logline_bus::{Bus, Error, Outgoing, Subject};
use logline_span::{Encoding, EntityType, Principal, Refusal, TenantId};
use serde_json::json;

use crate::trouble::Fault;

/// Publishes the incident; the same fault says the same again, by its key.
pub(crate) async fn publish(bus: &Bus, tenant: &TenantId, fault: &Fault) -> Result<(), Error> {
    let Ok(subject) = subject(tenant) else {
        return Ok(());
    };
    let body = json!({
        "who": "edge:signer",
        "did": "detected",
        "this": "log",
        "visibility": "tenant",
        "idempotency_key": format!("edge:signer:{}:{fault}", fault.code()),
        "metadata": { "code": fault.code(), "detail": fault.to_string() },
    });
    let outgoing = Outgoing {
        body: body.to_string().into(),
        encoding: Encoding::Json,
        traceparent: None,
        receipt: None,
        depth: Some(0),
    };
    bus.publish(&subject, outgoing).await.map(drop)
}

fn subject(tenant: &TenantId) -> Result<Subject, Refusal> {
    let principal: Principal = "edge:signer".parse()?;
    let entity_type: EntityType = "incident".parse()?;
    Ok(Subject::ingest(tenant, &principal, &entity_type))
}
