//! Sealed spans for the tests of what is decided.

use logline_span::{Hash, Json, Position, Sealed, Seq, Span, SpanId, Timestamp, TraceId};
use serde_json::{Value, json};

use crate::observer::Action;
use crate::written::Written;

pub(crate) const FUNCTION: &str = "0198c0de-0000-7000-8000-00000000000f";
pub(crate) const REQUEST: &str = "0198c0de-0000-7000-8000-00000000000e";

pub(crate) fn id(text: &str) -> SpanId {
    text.parse().unwrap()
}

/// A function of alice, sealed as scheduled, with what `change` does to it.
pub(crate) fn function(change: impl FnOnce(&mut Sealed)) -> Sealed {
    let mut sealed = sealed("function", FUNCTION, "2026-03-28T10:00:00.000001Z", 7);
    sealed.span.this = "function".to_owned();
    sealed.span.name = Some("greet".to_owned());
    sealed.span.code = Some("export function main() {}".to_owned());
    sealed.span.input = Some(json(json!({ "from": "function" })));
    sealed.span.visibility = logline_span::Visibility::Tenant;
    change(&mut sealed);
    sealed
}

/// Alice's request for it, with what `change` does to it.
pub(crate) fn request(change: impl FnOnce(&mut Sealed)) -> Sealed {
    let mut sealed = sealed("request", REQUEST, "2026-03-28T10:00:05.000002Z", 9);
    sealed.span.this = "run_code".to_owned();
    sealed.span.parent_id = Some(id(FUNCTION));
    sealed.span.visibility = logline_span::Visibility::Public;
    change(&mut sealed);
    sealed
}

pub(crate) fn json(value: Value) -> Json {
    Json::from_value(&value).unwrap()
}

/// What would be signed, without what every span of the system has.
pub(crate) fn shown(written: &Written) -> String {
    let mut canonical = Vec::new();
    written.span.canonical(&mut canonical);
    let mut shown: Value = serde_json::from_slice(&canonical).unwrap();
    let fields = shown.as_object_mut().unwrap();
    for absent in ["id", "seq", "is_deleted"] {
        fields.remove(absent);
    }
    assert_eq!(
        written.principal.as_str(),
        written.span.who,
        "the address says who writes"
    );
    shown.to_string()
}

/// The actions, one a line.
pub(crate) fn told(actions: &[Action]) -> String {
    let line = |action: &Action| match action {
        Action::Publish(written) => shown(written),
        Action::Arm(alarm) => format!("arm {}", serde_json::to_string(alarm).unwrap()),
        Action::Disarm => "disarm".to_owned(),
    };
    actions.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn sealed(entity_type: &str, name: &str, received_at: &str, position: u64) -> Sealed {
    let received_at: Timestamp = received_at.parse().unwrap();
    let span = Span {
        id: id(name),
        seq: Seq::ZERO,
        entity_type: entity_type.parse().unwrap(),
        who: "alice".to_owned(),
        did: None,
        this: String::new(),
        at: received_at,
        parent_id: None,
        related_to: Vec::new(),
        caused_by: None,
        trace_id: TraceId::of(id(FUNCTION)),
        owner_id: "alice".parse().unwrap(),
        tenant_id: "acme".parse().unwrap(),
        visibility: logline_span::Visibility::Private,
        status: Some("scheduled".parse().unwrap()),
        is_deleted: false,
        name: None,
        description: None,
        code: None,
        language: None,
        runtime: None,
        input: None,
        output: None,
        error: None,
        content: None,
        metadata: None,
        duration_ms: None,
        idempotency_key: None,
        signature: None,
        public_key: None,
        at_given: true,
        trace_given: true,
    };
    Sealed {
        span,
        position: Position::new(position).unwrap(),
        received_at,
        published_by: "alice".parse().unwrap(),
        prev_hash: Hash::of(b"before"),
        curr_hash: Hash::of(name.as_bytes()),
    }
}
