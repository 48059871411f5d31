use expect_test::{Expect, expect};

use super::*;
use crate::Span;

const NOON: &str = "2026-01-31T12:00:00Z";

fn arrive(principal: &str, entity_type: Option<&str>, body: &str) -> Result<Span, Refusal> {
    let entity_type = entity_type.map(|text| text.parse().unwrap());
    let arrival = Arrival {
        tenant: &"acme".parse().unwrap(),
        principal: &principal.parse().unwrap(),
        entity_type: entity_type.as_ref(),
        received_at: NOON.parse().unwrap(),
        trace_id: None,
        id: SpanId::derived(
            1_769_860_800_000_000_000,
            "ingest.acme.alice.activity",
            body.as_bytes(),
        ),
    };
    Draft::parse(body.as_bytes(), Encoding::Json, &Limits::STANDARD)?
        .complete(&arrival, &Limits::STANDARD)
}

fn show(result: Result<Span, Refusal>) -> String {
    match result {
        Ok(span) => {
            let mut bytes = Vec::new();
            span.canonical(&mut bytes);
            String::from_utf8(bytes).unwrap()
        }
        Err(refusal) => refusal.to_string(),
    }
}

fn check(body: &str, expected: &Expect) {
    expected.assert_eq(&show(arrive("alice", None, body)));
}

#[test]
fn span_1_the_address_and_the_message_fill_in_what_is_absent() {
    let body = r#"{"who":"alice","this":"door"}"#;
    expect![[r#"{"at":"2026-01-31T12:00:00.000000Z","entity_type":"activity","id":"019c13ec-9e00-8e52-a29c-6e50e964ef82","is_deleted":false,"owner_id":"alice","seq":0,"tenant_id":"acme","this":"door","trace_id":"019c13ec9e008e52a29c6e50e964ef82","visibility":"private","who":"alice"}"#]].assert_eq(&show(arrive("alice", Some("activity"), body)));
    let span = arrive("alice", Some("activity"), body).unwrap();
    assert!(!span.at_given && !span.trace_given);
    assert_eq!(span.trace_id, TraceId::of(span.id));
}

#[test]
fn span_5_sentences_name_fields_and_rules_but_no_content() {
    check(
        "{}",
        &expect![
            "missing_field at '/entity_type': required, and absent or empty: entity_type, who, this"
        ],
    );
    check(
        "{\"who\":\n\"secret",
        &expect!["malformed_json at '': not valid JSON at line 2, column 7"],
    );
    check(
        r#"{"entity_type":"a","who":"secret","this":"secret","one":1,"two/2":{"secret":2}}"#,
        &expect!["unknown_field at '/one': the envelope has no field one, two/2"],
    );
    check(
        r#"{"entity_type":"a","who":"b","this":"c","status":"my secret"}"#,
        &expect![
            "invalid_value at '/status': must be 1 to 64 of A-Z, a-z, 0-9, _ and -, not _ alone"
        ],
    );
    check(
        r#"{"entity_type":"a","who":"b","this":"c","metadata":{"n":9007199254740993}}"#,
        &expect![
            "unsafe_number at '/metadata/n': numbers must be finite, integers within ±(2^53-1) or written exactly as their double"
        ],
    );
    check(
        r#"{"entity_type":"a","who":"b","this":"c","at":"2016-12-31T23:59:60Z"}"#,
        &expect![
            "invalid_timestamp at '/at': must be an RFC 3339 time with offset, in the years 0000 to 9999, second 00 to 59"
        ],
    );
    check(
        r#"{"entity_type":"a","who":"b","this":"c","position":7}"#,
        &expect!["ledger_field at '/position': position is set by the ledger alone"],
    );
}

#[test]
fn a_long_pointer_names_an_ancestor() {
    let key = "k".repeat(400);
    let body = format!(r#"{{"metadata":{{"{key}":{{"{key}":1e400}}}}}}"#);
    let refusal = arrive("alice", Some("activity"), &body).unwrap_err();
    assert_eq!(refusal.pointer, format!("/metadata/{key}"));
}

#[test]
fn bus_1_the_system_writes_for_owners_in_the_address_tenant() {
    let body = r#"{"who":"edge:observer","this":"run_code","owner_id":"alice","idempotency_key":"edge:1"}"#;
    let span = arrive("edge:observer", Some("request"), body).unwrap();
    assert_eq!(span.owner_id.as_str(), "alice");
    let execution = r#"{"who":"edge:run_code","this":"run_code"}"#;
    assert!(arrive("edge:run_code", Some("execution"), execution).is_ok());
    let elsewhere = r#"{"who":"edge:observer","this":"run_code","tenant_id":"globex"}"#;
    assert_eq!(
        arrive("edge:observer", Some("request"), elsewhere)
            .unwrap_err()
            .code,
        Code::TenantMismatch
    );
    assert_eq!(
        arrive("edge:anything", Some("request"), body)
            .unwrap_err()
            .code,
        Code::ReservedPrincipal
    );
}

#[test]
fn people_write_requests_and_labels_but_not_what_the_system_concludes() {
    let body = r#"{"who":"alice","this":"x"}"#;
    for entity_type in [
        "request",
        "status_patch",
        "contract",
        "confirmation",
        "law",
        "function",
        "request.provider",
    ] {
        assert!(
            arrive("alice", Some(entity_type), body).is_ok(),
            "{entity_type}"
        );
    }
    for entity_type in crate::reserved::TYPES {
        assert_eq!(
            arrive("alice", Some(entity_type), body).unwrap_err().code,
            Code::ReservedType,
            "{entity_type}"
        );
    }
}

#[test]
fn span_2_the_limit_of_canonical_bytes_is_exact() {
    let limit = |filler: usize| {
        let body = format!(
            r#"{{"who":"alice","this":"door","metadata":"{}"}}"#,
            "x".repeat(filler)
        );
        arrive("alice", Some("activity"), &body)
    };
    let fixed = show(limit(0)).len();
    let most = Limits::STANDARD.canonical_bytes_max - fixed;
    assert_eq!(
        show(limit(most)).len(),
        Limits::STANDARD.canonical_bytes_max
    );
    assert_eq!(limit(most + 1).unwrap_err().code, Code::TooLarge);
}

#[test]
fn span_2_sixty_four_levels_are_the_most() {
    let nested = |levels: usize| {
        let body = format!(
            r#"{{"who":"a","this":"b","metadata":{}{}}}"#,
            "[".repeat(levels),
            "]".repeat(levels)
        );
        arrive("alice", Some("activity"), &body)
    };
    assert!(nested(63).is_ok(), "the envelope is the first level");
    assert_eq!(nested(64).unwrap_err().code, Code::TooDeep);
    assert_eq!(nested(100_000).unwrap_err().code, Code::TooDeep);
}

#[test]
fn content_types_are_two() {
    let read = |header| Encoding::from_content_type(header).map_err(|refusal| refusal.code);
    assert_eq!(read(None), Ok(Encoding::Json));
    assert_eq!(
        read(Some("Application/JSON; charset=utf-8")),
        Ok(Encoding::Json)
    );
    assert_eq!(read(Some("application/msgpack")), Ok(Encoding::MessagePack));
    assert_eq!(read(Some("text/plain")), Err(Code::UnsupportedEncoding));
}

#[test]
fn what_code_builds_obeys_the_same_bounds() {
    let key = SigningKey::from_seed(&[1; 32]);
    let mut draft = Draft {
        did: Some("a\0b".to_owned()),
        ..Draft::default()
    };
    assert_eq!(draft.sign(&key).unwrap_err().code, Code::NulCharacter);
    draft.did = None;
    assert_eq!(
        draft.sign(&key).unwrap_err().code,
        Code::SignatureIncomplete
    );
}
