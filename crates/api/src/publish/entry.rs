//! One span on its way to the bus.

use std::time::SystemTime;

use bytes::Bytes;
use logline_bus::Subject;
use logline_span::{
    Arrival, Draft, Encoding, Limits, Principal, Reader, Refusal, SpanId, TenantId, Timestamp,
    TraceId,
};
use uuid::Uuid;

/// Longest message that is passed on as it came; a longer one is written anew, without the space between its tokens,
/// because the bus counts the headers towards its 1 MiB.
const VERBATIM_BYTES_MAX: usize = (1 << 20) - (8 << 10);

/// A span that breaks no rule that can be checked without the ledger, ready for the bus.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) id: SpanId,
    pub(crate) subject: Subject,
    pub(crate) encoding: Encoding,
    pub(crate) body: Bytes,
}

impl Publication {
    /// Checks what `author` sent and gives it an id where it has none.
    pub(crate) fn new(
        bytes: Bytes,
        encoding: Encoding,
        author: &Reader,
        trace_id: Option<TraceId>,
        limits: &Limits,
    ) -> Result<Self, Refusal> {
        let mut draft = Draft::parse(&bytes, encoding, limits)?;
        let id = draft
            .id
            .unwrap_or_else(|| SpanId::from_uuid(Uuid::now_v7()));
        // A signature covers the id: a signed span that lacks it is refused below.
        let is_final = draft.id.is_some() || draft.signature.is_some();
        if !is_final {
            draft.id = Some(id);
        }
        let (body, encoding) = if is_final && bytes.len() <= VERBATIM_BYTES_MAX {
            (bytes, encoding)
        } else {
            (Bytes::from(draft.to_json()), Encoding::Json)
        };
        let arrival = Arrival {
            tenant: &author.tenant,
            principal: &author.principal,
            entity_type: None,
            received_at: now(),
            trace_id,
            id,
        };
        let span = draft.complete(&arrival, limits)?;
        let subject = Subject::ingest(&author.tenant, &author.principal, &span.entity_type);
        Ok(Self {
            id,
            subject,
            encoding,
            body,
        })
    }
}

/// Where a refused span came from, since it has no address on the bus.
pub(crate) fn origin(tenant: &TenantId, principal: &Principal) -> String {
    format!("POST /api/spans as {principal} of {tenant}")
}

/// The wall clock, so that a span dated in the future is refused before it is published. The projector decides by
/// the bus's time.
#[expect(
    clippy::disallowed_methods,
    reason = "the edge is where a request meets the clock"
)]
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
