use expect_test::{Expect, expect};

use super::*;
use crate::{EntityType, Principal, SpanId, TenantId, Timestamp};

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn arrive(
    principal: &str,
    entity_type: Option<&str>,
    draft: Draft,
) -> Result<crate::Span, Refusal> {
    let entity_type = entity_type.map(|text| text.parse::<EntityType>().unwrap());
    let arrival = Arrival {
        tenant: &"acme".parse::<TenantId>().unwrap(),
        principal: &principal.parse::<Principal>().unwrap(),
        entity_type: entity_type.as_ref(),
        received_at: NOW,
        trace_id: None,
        id: SpanId::derived(1, "a", b"b"),
    };
    draft.complete(&arrival, &Limits::STANDARD)
}

fn json(body: &str) -> Result<crate::Span, Refusal> {
    arrive(
        "alice",
        None,
        Draft::parse(body.as_bytes(), Encoding::Json, &Limits::STANDARD)?,
    )
}

fn check(body: &str, expected: &Expect) {
    let shown = match json(body) {
        Ok(span) => {
            let mut bytes = Vec::new();
            span.canonical(&mut bytes);
            String::from_utf8(bytes).unwrap()
        }
        Err(refusal) => refusal.to_string(),
    };
    expected.assert_eq(&shown);
}

/// A body that would be accepted, with `more` fields.
fn with(more: &str) -> String {
    format!(r#"{{"entity_type":"activity","who":"alice","this":"door",{more}}}"#)
}

#[test]
fn defaults_are_filled_in() {
    check(
        r#"{"entity_type":"activity","who":"alice","this":"door"}"#,
        &expect![[]],
    );
}

#[test]
fn each_fault_has_its_code_and_pointer() {
    for (body, expected) in [
        ("", expect![[]]),
        ("{", expect![[]]),
        ("[]", expect![[]]),
        ("{} {}", expect![[]]),
        ("{}", expect![[]]),
        (r#"{"entity_type":"a","who":"","this":null}"#, expect![[]]),
    ] {
        check(body, &expected);
    }
    for (more, expected) in [
        (r#""foo":1,"b/r":{"x":2}"#, expect![[]]),
        (r#""links":{"caused_by":null,"x":1}"#, expect![[]]),
        (r#""curr_hash":7"#, expect![[]]),
        (r#""who":"bob""#, expect![[]]),
        (r#""metadata":{"a":[{"k":1,"k":2}]}"#, expect![[]]),
        (r#""metadata":{"a~/":"\u0000"}"#, expect![[]]),
        (r#""metadata":["\ud800"]"#, expect![[]]),
        (r#""metadata":["\udc00x"]"#, expect![[]]),
        (r#""metadata":["\ud800\u0041"]"#, expect![[]]),
        (r#""metadata":["\ud800x"]"#, expect![[]]),
        (r#""metadata":1e400"#, expect![[]]),
        (r#""metadata":[1,9007199254740993]"#, expect![[]]),
        (
            r#""metadata":[100000000000000000000,{"x":100000000000000000001}]"#,
            expect![[]],
        ),
        (r#""did":5"#, expect![[]]),
        (r#""did":"a\u0000""#, expect![[]]),
        (r#""seq":-1"#, expect![[]]),
        (r#""seq":1.5"#, expect![[]]),
        (r#""seq":2147483648"#, expect![[]]),
        (r#""seq":"1""#, expect![[]]),
        (r#""duration_ms":99999999999999999999999"#, expect![[]]),
        (r#""is_deleted":0"#, expect![[]]),
        (
            r#""id":"00000000-0000-0000-0000-000000000000""#,
            expect![[]],
        ),
        (r#""parent_id":"5""#, expect![[]]),
        (
            r#""related_to":["0190163d-8694-739b-aea5-966c26f8ad91",null]"#,
            expect![[]],
        ),
        (r#""related_to":{}"#, expect![[]]),
        (r#""visibility":"secret""#, expect![[]]),
        (r#""status":"_""#, expect![[]]),
        (r#""at":"2026-06-30T23:59:60Z""#, expect![[]]),
        (r#""at":"2023-11-14T22:18:20.000001Z""#, expect![[]]),
        (r#""tenant_id":"other""#, expect![[]]),
        (r#""owner_id":"bob""#, expect![[]]),
        (r#""idempotency_key":"edge:x""#, expect![[]]),
        (r#""idempotency_key":"""#, expect![[]]),
        (r#""public_key":"00""#, expect![[]]),
    ] {
        check(&with(more), &expected);
    }
}
