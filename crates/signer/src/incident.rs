//! The span that says that a log is not signed any more.

use bytes::Bytes;
use logline_bus::{Outgoing, Subject};
use logline_span::{Draft, Encoding, Limits, SigningKey, SpanId, TenantId, Timestamp, TraceId};
use serde_json::json;
use uuid::Uuid;

use crate::refusal::Refusal;

/// Who writes it; a principal of the system's.
const PRINCIPAL: &str = "edge:signer";

/// An incident in the tenant's own chain, signed with the log's key. `occasion`, a UUIDv7, tells it from every other.
pub(crate) fn incident(
    tenant: &TenantId,
    refusal: &Refusal,
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
        "idempotency_key": format!("{PRINCIPAL}:refused:{occasion}"),
        "metadata": {
            "code": refusal.code(),
            "detail": format!("{refusal}: no head of this log is signed until a person has looked"),
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
