//! What the crate promises to other languages and to every later release: published vectors, and properties that
//! hold for any span.
#![expect(
    clippy::unwrap_used,
    reason = "clippy knows tests by their attribute, not the helpers beside them"
)]

mod properties;
mod vectors;

use logline_span::{Arrival, Draft, Limits, Refusal, Span, SpanId, Timestamp};

/// The noon at which everything in these tests arrives.
fn noon() -> Timestamp {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

/// Completes a draft as if `principal` of tenant acme had published it.
fn arrive(draft: Draft, principal: &str, entity_type: Option<&str>) -> Result<Span, Refusal> {
    let entity_type = entity_type.map(|text| text.parse().unwrap());
    let arrival = Arrival {
        tenant: &"acme".parse().unwrap(),
        principal: &principal.parse().unwrap(),
        entity_type: entity_type.as_ref(),
        received_at: noon(),
        trace_id: None,
        id: SpanId::derived(
            1_769_860_800_000_000_000,
            "ingest.acme.alice.activity",
            b"body",
        ),
    };
    draft.complete(&arrival, &Limits::STANDARD)
}

fn canonical(span: &Span) -> String {
    let mut bytes = Vec::new();
    span.canonical(&mut bytes);
    String::from_utf8(bytes).unwrap()
}
