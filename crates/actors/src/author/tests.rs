use logline_span::{Arrival, Draft, Encoding, Json, Timestamp};
use serde_json::json;

use super::*;
use crate::sample::{function, json as field, request};
use crate::written::{self, Ran};

fn author(seed: u8) -> Author {
    Author::new(SigningKey::from_seed(&[seed; 32]), Limits::STANDARD)
}

fn ran(input: Option<Json>, output: Json) -> Written {
    let ran = Ran {
        input,
        result: Ok(output),
        duration_ms: 1,
        logs: vec!["x".repeat(16 << 10)],
    };
    written::execution(&request(|_| ()), Some(&function(|_| ())), ran)
}

/// The projector's own check of what arrives.
fn accepted(signed: &Signed) -> Span {
    let Subject::Ingest {
        tenant,
        principal,
        entity_type,
    } = &signed.subject
    else {
        panic!("{}", signed.subject)
    };
    let arrival = Arrival {
        tenant,
        principal,
        entity_type: Some(entity_type),
        received_at: Timestamp::from_micros(signed.span.at.as_micros() + 1),
        trace_id: None,
        id: signed.span.id,
    };
    let draft = Draft::parse(&signed.body, Encoding::Json, &Limits::STANDARD).unwrap();
    draft.complete(&arrival, &Limits::STANDARD).unwrap()
}

#[test]
fn what_is_signed_is_taken_as_it_is() {
    for written in [
        written::request(&function(|_| ()), function(|_| ()).received_at),
        ran(None, field(json!({ "a": 1 }))),
    ] {
        let signed = author(1).sign(written);
        let span = accepted(&signed);
        assert_eq!(span, signed.span);
        assert!(span.signature.is_some());
    }
}

#[test]
fn a_repeat_has_the_same_id_and_only_the_key_tells_it() {
    let sign = |seed| author(seed).sign(ran(None, field(json!(1)))).span;
    let (one, again, other) = (sign(1), sign(1), sign(2));
    assert_eq!(one.id, again.id);
    assert_ne!(one.id, other.id);
    assert_eq!(one.id.as_uuid().get_version_num(), 7);
    assert_eq!(
        one.id.to_string()[..13],
        other.id.to_string()[..13],
        "the time is not secret"
    );
}

#[test]
fn exe_7_content_that_makes_the_span_too_large_becomes_a_digest() {
    let large = field(json!("i".repeat(200 << 10)));
    let output = field(json!("o".repeat(120 << 10)));
    let span = accepted(&author(1).sign(ran(Some(large.clone()), output.clone())));
    assert_eq!(span.output, Some(output.clone()), "the smaller one stays");
    let stand_in = span.input.unwrap().to_value();
    assert_eq!(stand_in["code"], "too_large");
    assert_eq!(stand_in["length"], large.as_str().len());
    assert_eq!(
        stand_in["digest"],
        Hash::of(large.as_str().as_bytes()).to_string()
    );
}

/// A span that the projector refuses would leave no trace of what happened.
#[test]
fn exe_7_what_breaks_the_rules_is_replaced_and_not_lost() {
    let mut broken = ran(None, field(json!({ "a": 1 })));
    broken.span.name = Some("x".repeat(1000));
    let key = broken.span.idempotency_key.clone().unwrap();
    let signed = author(1).sign(broken);
    let span = accepted(&signed);
    assert_eq!(span, signed.span);
    assert_eq!(span.idempotency_key, Some(format!("{key}:refused")));
    assert_eq!(span.status.unwrap().as_str(), "error");
    assert_eq!((span.name, span.output), (None, None));
    assert_eq!(span.error.unwrap().to_value()["refusal"], "too_long");

    let mut broken = ran(None, field(json!({ "a": 1 })));
    broken.span.error = Some(field(json!("e".repeat(300 << 10))));
    let span = accepted(&author(1).sign(broken));
    assert_eq!(span.error.unwrap().to_value()["refusal"], "too_large");
}
