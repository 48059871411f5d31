//! The span that says that a log is not signed any more, or that a witness knows better.

use std::error::Error as StdError;

use bytes::Bytes;
use logline_bus::{Outgoing, Subject};
use logline_span::{Draft, Encoding, Limits, SigningKey, SpanId, TenantId, Timestamp, TraceId};
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use crate::config::Resources;
use crate::refusal::Refusal;
use crate::signer::{at, pause};

/// Who writes it; a principal of the system's.
const PRINCIPAL: &str = "edge:signer";

/// What was found, for programs and for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) code: &'static str,
    pub(crate) detail: String,
}

impl Finding {
    /// That a log is not signed any more.
    pub(crate) fn refused(refusal: &Refusal) -> Self {
        Self {
            code: refusal.code(),
            detail: format!("{refusal}: no head of this log is signed until a person has looked"),
        }
    }
}

/// Reports a finding, for as long as it takes the bus to have it.
pub(crate) async fn report(resources: &Resources, tenant: &TenantId, finding: &Finding) {
    let Finding { code, detail } = finding;
    tracing::error!(%tenant, code, detail, "incident");
    let Resources { bus, key, .. } = resources;
    let (subject, outgoing) = match incident(tenant, finding, Uuid::now_v7(), key) {
        Ok(incident) => incident,
        Err(error) => {
            tracing::error!(%tenant, %error, "the incident breaks the rules of spans");
            return;
        }
    };
    let mut failures = 0;
    while let Err(error) = bus.publish(&subject, outgoing.clone()).await {
        failures += 1;
        tracing::warn!(%tenant, error = &error as &dyn StdError, "incident not yet published");
        at(Some(Instant::now() + pause(failures))).await;
    }
}

/// An incident in the tenant's own chain, signed with the log's key. `occasion`, a UUIDv7, tells it from every other.
fn incident(
    tenant: &TenantId,
    finding: &Finding,
    occasion: Uuid,
    key: &SigningKey,
) -> Result<(Subject, Outgoing), logline_span::Refusal> {
    let id = SpanId::from_uuid(occasion);
    let (seconds, nanos) = occasion
        .get_timestamp()
        .map_or((0, 0), |time| time.to_unix());
    let micros = i64::try_from(seconds)
        .unwrap_or(0)
        .saturating_mul(1_000_000);
    let at = Timestamp::from_micros(micros.saturating_add(i64::from(nanos) / 1000));
    let body = json!({
        "id": id.to_string(),
        "entity_type": "incident",
        "who": PRINCIPAL,
        "did": "detected",
        "this": "log",
        "at": at.to_string(),
        "trace_id": TraceId::of(id).to_string(),
        "tenant_id": tenant.as_str(),
        "owner_id": PRINCIPAL,
        "visibility": "tenant",
        "idempotency_key": format!("{PRINCIPAL}:incident:{occasion}"),
        "metadata": {
            "code": finding.code,
            "detail": finding.detail,
        },
    });
    let body = body.to_string();
    let mut draft = Draft::parse(body.as_bytes(), Encoding::Json, &Limits::STANDARD)?;
    draft.sign(key)?;
    let subject = Subject::ingest(tenant, &PRINCIPAL.parse()?, &"incident".parse()?);
    Ok((
        subject,
        Outgoing {
            body: Bytes::from(draft.to_json()),
            encoding: Encoding::Json,
            traceparent: None,
            receipt: None,
            depth: Some(0),
        },
    ))
}
