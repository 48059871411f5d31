//! What breaks a rule is refused, kept aside, and stops nobody.

use std::time::Duration;

use logline_bus::{Outgoing, Receipt};
use logline_span::{Encoding, Limits};
use logline_testkit::deadline;

use crate::world::{PATIENCE, World, config, outgoing};

const ALICE: &str = "ingest.acme.alice.activity";
const PLAIN: &str = r#"{"who":"alice","this":"door"}"#;

fn refusal(receipt: Receipt) -> (String, String, String) {
    match receipt {
        Receipt::Sealed { position, .. } => panic!("sealed at {position}"),
        Receipt::Refused(refusal) => (refusal.code.to_string(), refusal.pointer, refusal.detail),
    }
}

/// Every class of bad input: the body, and the code and pointer that its publisher is told.
fn bad_inputs() -> Vec<(String, &'static str, &'static str)> {
    let with = |rest: &str| format!(r#"{{"who":"alice","this":"door",{rest}}}"#);
    let deep = "[".repeat(70) + &"]".repeat(70);
    let large = "x".repeat(300 * 1024);
    let signature = format!("ed25519:{}", "0".repeat(128));
    let key = "0".repeat(64);
    let id = "018f3c5e-7b1a-7c3d-8e4f-0123456789ab";
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let signed = with(&format!(
        r#""id":"{id}","entity_type":"activity","at":"2026-01-01T00:00:00.000000Z","trace_id":"{trace}","tenant_id":"acme","owner_id":"alice","signature":"{signature}","public_key":"{key}""#
    ));
    vec![
        ("{".to_owned(), "malformed_json", ""),
        (
            with(r#""input":{"a":1,"a":2}"#),
            "duplicate_key",
            "/input/a",
        ),
        (r#"{"who":"alice"}"#.to_owned(), "missing_field", "/this"),
        (
            with(r#""duration_ms":"long""#),
            "wrong_type",
            "/duration_ms",
        ),
        (with(r#""colour":"red""#), "unknown_field", "/colour"),
        (with(&format!(r#""content":"{large}""#)), "too_large", ""),
        (
            with(&format!(r#""content":{deep}"#)),
            "too_deep",
            "/content/0/0",
        ),
        (
            with(r#""content":9007199254740993"#),
            "unsafe_number",
            "/content",
        ),
        (
            with(r#""tenant_id":"globex""#),
            "tenant_mismatch",
            "/tenant_id",
        ),
        (with(r#""owner_id":"bob""#), "owner_mismatch", "/owner_id"),
        (
            with(r#""entity_type":"other""#),
            "type_mismatch",
            "/entity_type",
        ),
        (
            with(r#""curr_hash":"blake3:00""#),
            "ledger_field",
            "/curr_hash",
        ),
        (
            with(r#""at":"2999-01-01T00:00:00Z""#),
            "at_in_future",
            "/at",
        ),
        (
            with(&format!(r#""public_key":"{key}""#)),
            "key_without_signature",
            "/public_key",
        ),
        (signed, "signature_invalid", "/signature"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_class_of_bad_input_is_refused_with_its_code_and_the_stream_goes_on() {
    let world = World::new().await;
    let projector = world.projector().await;
    let inputs = bad_inputs();
    for (body, code, pointer) in &inputs {
        let (found, at, detail) = refusal(world.seal(ALICE, body).await);
        assert_eq!(found, *code, "{detail}");
        assert!(
            at == *pointer || (found == "too_deep" && at.starts_with(pointer)),
            "{at}"
        );
        assert!(!detail.is_empty() && !detail.contains("alice"), "{detail}");
    }
    for subject in [
        "ingest.acme.alice.boot_event",
        "ingest.acme.alice.execution",
    ] {
        let (code, ..) = refusal(world.seal(subject, PLAIN).await);
        assert_eq!(code, "reserved_type");
    }
    world.publish(ALICE, PLAIN).await;
    assert_eq!(world.sealed(1).await[0].position.get(), 1);
    projector.stop().await;
    assert_eq!(world.check().await.len(), 1);

    let kept: u64 = quarantined(&world).len() as u64;
    assert_eq!(kept, inputs.len() as u64 + 2, "each once");
    assert_eq!(
        world.sql("select count(*) from ledger.intake where refusal_code is not null"),
        kept.to_string()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn quarantine_holds_the_raw_bytes_once_though_the_projector_dies() {
    let world = World::new().await;
    for number in 0..20 {
        world
            .publish(ALICE, &format!(r#"{{"number":{number}"#))
            .await;
    }
    for life in 0..10 {
        world
            .projector()
            .await
            .dies_after(Duration::from_millis(life * 5))
            .await;
    }
    let projector = world.projector().await;
    world.seal(ALICE, PLAIN).await;
    projector.stop().await;
    let mut bodies = quarantined(&world);
    bodies.sort();
    let mut wanted: Vec<String> = (0..20)
        .map(|number| format!(r#"{{"number":{number}"#))
        .collect();
    wanted.sort();
    assert_eq!(bodies, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_names_no_one_is_refused_and_kept() {
    let world = World::new().await;
    let projector = world.projector().await;
    world.nats_cli(&["pub", "ingest.ACME.alice.activity", PLAIN]);
    world.nats_cli(&["pub", "ingest.acme.a%zz.activity", PLAIN]);
    world.seal(ALICE, PLAIN).await;
    projector.stop().await;
    assert_eq!(quarantined(&world), [PLAIN, PLAIN]);
    let codes =
        "select string_agg(refusal_code, ' ') from ledger.intake where refusal_code is not null";
    assert_eq!(world.sql(codes), "invalid_address invalid_address");
}

#[tokio::test(flavor = "multi_thread")]
async fn messagepack_is_sealed_like_json_span_4() {
    let world = World::new().await;
    let projector = world.projector().await;
    let body: &[u8] = b"\x82\xa3who\xa5alice\xa4this\xa4door";
    let message = Outgoing {
        body: body.to_vec().into(),
        encoding: Encoding::MessagePack,
        ..outgoing("")
    };
    let subject = ALICE.parse().unwrap();
    let sent = world.bus.publish_sealed(&subject, message, PATIENCE);
    deadline(PATIENCE, sent).await.unwrap();
    projector.stop().await;
    assert_eq!(world.check().await[0].span.this, "door");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_postgres_refuses_is_put_aside_and_stops_nobody_led_16() {
    let world = World::new().await;
    // A rule that only Postgres knows stands for whatever was not foreseen.
    world.sql("alter table ledger.span add constraint unforeseen check (this <> 'poison')");
    for number in 0..100 {
        let this = if number % 40 == 7 { "poison" } else { "door" };
        world
            .publish(
                ALICE,
                &format!(r#"{{"who":"alice","this":"{this}","name":"{number}"}}"#),
            )
            .await;
    }
    let projector = world.projector().await;
    world.sealed(97).await;
    let (code, ..) = refusal(
        world
            .seal(ALICE, r#"{"who":"alice","this":"poison"}"#)
            .await,
    );
    assert_eq!(code, "internal");
    projector.stop().await;
    assert_eq!(world.check().await.len(), 97);
    assert_eq!(quarantined(&world).len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_look_up_the_ledger_refuses_is_put_aside_and_stops_nobody_led_16() {
    let world = World::new().await;
    let projector = world.projector().await;
    let body = r#"{"who":"alice","this":"door","id":"018f3c5e-7b1a-7c3d-8e4f-0123456789ab"}"#;
    world.seal(ALICE, body).await;
    world.sql(
        "alter table ledger.span disable trigger all; update ledger.span set entity_type = ''",
    );
    let (code, ..) = refusal(world.seal(ALICE, body).await);
    assert_eq!(code, "internal");
    assert!(matches!(
        world.seal(ALICE, PLAIN).await,
        Receipt::Sealed { .. }
    ));
    projector.stop().await;
    assert_eq!(quarantined(&world), [body]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_an_operator_must_mend_condemns_nobody() {
    let world = World::new().await;
    let mut projector = world.projector().await;
    world.seal(ALICE, PLAIN).await;
    world.sql("alter table ledger.span rename to mislaid");
    for _ in 0..5 {
        world.publish(ALICE, PLAIN).await;
    }
    projector.becomes(|health| !health.is_ready()).await;
    world.sql("alter table ledger.mislaid rename to span");
    world.sealed(6).await;
    projector.stop().await;
    assert_eq!(quarantined(&world).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_quarantine_is_waited_for() {
    let world = World::new().await;
    let mut projector = world.projector().await;
    refusal(world.seal(ALICE, "{").await);
    let edit = |rest: &[&str]| {
        world.nats_cli(&[&["stream", "edit", "QUARANTINE", "--force"], rest].concat())
    };
    edit(&["--discard=new", "--max-msgs=1"]);
    world.publish(ALICE, "{1").await;
    projector.becomes(|health| !health.is_ready()).await;
    edit(&["--discard=old", "--max-msgs=-1"]);
    refusal(world.seal(ALICE, "{2").await);
    projector.stop().await;
    assert_eq!(quarantined(&world), ["{", "{1", "{2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_the_configured_ones() {
    let world = World::new().await;
    let limits = Limits {
        canonical_bytes_max: 300,
        ..Limits::STANDARD
    };
    let projector = world.projector_on(
        world.bus.clone(),
        logline_projector::Config { limits, ..config() },
    );
    let long = format!(
        r#"{{"who":"alice","this":"door","content":"{}"}}"#,
        "x".repeat(200)
    );
    assert_eq!(refusal(world.seal(ALICE, &long).await).0, "too_large");
    projector.stop().await;
}

/// The bodies in `QUARANTINE`, in the order in which they were put there.
fn quarantined(world: &World) -> Vec<String> {
    let info: serde_json::Value =
        serde_json::from_str(&world.nats_cli(&["stream", "info", "--json", "QUARANTINE"])).unwrap();
    let last = info["state"]["messages"].as_u64().unwrap();
    (1..=last)
        .map(|number| {
            let number = number.to_string();
            let text = world.nats_cli(&["stream", "get", "--json", "QUARANTINE", &number]);
            let message: serde_json::Value = serde_json::from_str(&text).unwrap();
            String::from_utf8(decoded(message["data"].as_str().unwrap())).unwrap()
        })
        .collect()
}

/// Base64, as the stock client prints bodies.
fn decoded(text: &str) -> Vec<u8> {
    let digits = text
        .bytes()
        .filter(|byte| *byte != b'=')
        .map(|byte| match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            _ => 63,
        });
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for digit in digits {
        bits = (bits << 6) | u32::from(digit);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xff).unwrap());
        }
    }
    bytes
}
