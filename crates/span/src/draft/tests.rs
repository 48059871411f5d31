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
        &expect![[
            r#"{"at":"2023-11-14T22:13:20.000000Z","entity_type":"activity","id":"00000000-0000-8e5e-b56d-c51b31dd5ce7","is_deleted":false,"owner_id":"alice","seq":0,"tenant_id":"acme","this":"door","trace_id":"0000000000008e5eb56dc51b31dd5ce7","visibility":"private","who":"alice"}"#
        ]],
    );
}

#[test]
fn each_fault_has_its_code_and_pointer() {
    for (body, expected) in [
        (
            "",
            expect!["malformed_json at '': not valid JSON at line 1, column 0"],
        ),
        (
            "{",
            expect!["malformed_json at '': not valid JSON at line 1, column 1"],
        ),
        ("[]", expect!["wrong_type at '': a span is one object"]),
        (
            "{} {}",
            expect!["malformed_json at '': not valid JSON at line 1, column 4"],
        ),
        (
            "{}",
            expect![
                "missing_field at '/entity_type': required, and absent or empty: entity_type, who, this"
            ],
        ),
        (
            r#"{"entity_type":"a","who":"","this":null}"#,
            expect!["missing_field at '/who': required, and absent or empty: who, this"],
        ),
    ] {
        check(body, &expected);
    }
    for (more, expected) in [
        (
            r#""foo":1,"b/r":{"x":2}"#,
            expect!["unknown_field at '/foo': the envelope has no field foo, b/r"],
        ),
        (
            r#""links":{"caused_by":null,"x":1}"#,
            expect!["unknown_field at '/links/x': the envelope has no field x"],
        ),
        (
            r#""curr_hash":7"#,
            expect!["ledger_field at '/curr_hash': curr_hash is set by the ledger alone"],
        ),
        (
            r#""who":"bob""#,
            expect!["duplicate_key at '/who': a key occurs twice in one object"],
        ),
        (
            r#""metadata":{"a":[{"k":1,"k":2}]}"#,
            expect!["duplicate_key at '/metadata/a/0/k': a key occurs twice in one object"],
        ),
        (
            r#""metadata":{"a~/":"\u0000"}"#,
            expect!["nul_character at '/metadata/a~0~1': text must not contain U+0000"],
        ),
        (
            r#""metadata":["\ud800"]"#,
            expect![
                "invalid_utf8 at '/metadata/0': text must be valid UTF-8, without lone surrogates"
            ],
        ),
        (
            r#""metadata":["\udc00x"]"#,
            expect![
                "invalid_utf8 at '/metadata/0': text must be valid UTF-8, without lone surrogates"
            ],
        ),
        (
            r#""metadata":["\ud800\u0041"]"#,
            expect![
                "invalid_utf8 at '/metadata/0': text must be valid UTF-8, without lone surrogates"
            ],
        ),
        (
            r#""metadata":["\ud800x"]"#,
            expect![
                "invalid_utf8 at '/metadata/0': text must be valid UTF-8, without lone surrogates"
            ],
        ),
        (
            r#""metadata":1e400"#,
            expect![
                "unsafe_number at '/metadata': numbers must be finite, integers within ±(2^53-1) or written exactly as their double"
            ],
        ),
        (
            r#""metadata":[1,9007199254740993]"#,
            expect![
                "unsafe_number at '/metadata/1': numbers must be finite, integers within ±(2^53-1) or written exactly as their double"
            ],
        ),
        (
            r#""metadata":[100000000000000000000,{"x":100000000000000000001}]"#,
            expect![
                "unsafe_number at '/metadata/1/x': numbers must be finite, integers within ±(2^53-1) or written exactly as their double"
            ],
        ),
        (r#""did":5"#, expect!["wrong_type at '/did': must be text"]),
        (
            r#""did":"a\u0000""#,
            expect!["nul_character at '/did': text must not contain U+0000"],
        ),
        (
            r#""seq":-1"#,
            expect!["out_of_range at '/seq': must be from 0 to 2147483647"],
        ),
        (
            r#""seq":1.5"#,
            expect!["wrong_type at '/seq': must be an integer"],
        ),
        (
            r#""seq":2147483648"#,
            expect!["out_of_range at '/seq': must be from 0 to 2147483647"],
        ),
        (
            r#""seq":"1""#,
            expect!["wrong_type at '/seq': must be an integer"],
        ),
        (
            r#""duration_ms":99999999999999999999999"#,
            expect!["out_of_range at '/duration_ms': must be from 0 to 2147483647"],
        ),
        (
            r#""is_deleted":0"#,
            expect!["wrong_type at '/is_deleted': must be true or false"],
        ),
        (
            r#""id":"00000000-0000-0000-0000-000000000000""#,
            expect![
                "invalid_value at '/id': must be a UUID as 8-4-4-4-12 hex digits, not the nil one"
            ],
        ),
        (
            r#""parent_id":"5""#,
            expect![
                "invalid_value at '/parent_id': must be a UUID as 8-4-4-4-12 hex digits, not the nil one"
            ],
        ),
        (
            r#""related_to":["0190163d-8694-739b-aea5-966c26f8ad91",null]"#,
            expect!["wrong_type at '/related_to/1': must be text"],
        ),
        (
            r#""related_to":{}"#,
            expect!["wrong_type at '/related_to': must be a list of UUIDs"],
        ),
        (
            r#""visibility":"secret""#,
            expect!["invalid_value at '/visibility': must be private, tenant or public"],
        ),
        (
            r#""status":"_""#,
            expect![
                "invalid_value at '/status': must be 1 to 64 of A-Z, a-z, 0-9, _ and -, not _ alone"
            ],
        ),
        (
            r#""at":"2026-06-30T23:59:60Z""#,
            expect![
                "invalid_timestamp at '/at': must be an RFC 3339 time with offset, in the years 0000 to 9999, second 00 to 59"
            ],
        ),
        (
            r#""at":"2023-11-14T22:18:20.000001Z""#,
            expect!["at_in_future at '/at': at lies more than 300 seconds in the future"],
        ),
        (
            r#""tenant_id":"other""#,
            expect![
                "tenant_mismatch at '/tenant_id': tenant_id must be the tenant of the address or token"
            ],
        ),
        (
            r#""owner_id":"bob""#,
            expect![
                "owner_mismatch at '/owner_id': owner_id must be the principal of the address or token"
            ],
        ),
        (
            r#""idempotency_key":"edge:x""#,
            expect![
                "reserved_key at '/idempotency_key': keys beginning with edge: are the system's"
            ],
        ),
        (
            r#""idempotency_key":"""#,
            expect!["out_of_range at '/idempotency_key': must not be empty"],
        ),
        (
            r#""public_key":"00""#,
            expect!["invalid_value at '/public_key': must be 64 lower-case hex digits"],
        ),
    ] {
        check(&with(more), &expected);
    }
}
