//! BUS-2: the service `logline`, with the stock client.

use std::time::Duration;

use logline_bus::{Bus, Incoming, Receipt};
use logline_span::{Encoding, Hash, Limits, Position, Seq, SpanId, Timestamp};
use logline_testkit::{Nats, deadline};
use tokio_util::sync::CancellationToken;

use crate::support::{SOON, config, connect, intake_config, migrated, nats_cli};

/// Runs the service while the stock client asks; no projector is there.
async fn ask(nats: &Nats, bus: &Bus, arguments: &[&str]) -> Result<String, String> {
    let service = bus.serve_publish(Limits::STANDARD).await.unwrap();
    let shutdown = CancellationToken::new();
    let asked = async {
        let answer = nats_cli(nats, arguments).await;
        shutdown.cancel();
        answer
    };
    deadline(SOON, async {
        tokio::join!(service.run(shutdown.clone()), asked)
    })
    .await
    .1
}

#[tokio::test]
async fn a_request_of_the_stock_client_is_answered_with_the_receipt() {
    let nats = Nats::start().await;
    let (bus, projector) = (migrated(&nats).await, connect(&nats).await);
    let mut intake = projector.intake(intake_config()).await.unwrap();
    let sealing = async {
        let messages = intake.next(1, Duration::ZERO, 1).await.unwrap();
        let message: &Incoming = &messages[0];
        let draft = logline_span::Draft::parse(&message.body, Encoding::Json, &Limits::STANDARD);
        let receipt = Receipt::Sealed {
            id: draft
                .map(|_| SpanId::from_uuid(uuid::Uuid::from_u128(5)))
                .unwrap(),
            seq: Seq::ZERO,
            at: Timestamp::from_micros(0),
            position: Position::FIRST,
            curr_hash: Hash::of(b"x"),
            duplicate: false,
        };
        let inbox = message
            .receipt
            .as_deref()
            .expect("the stock client's own inbox");
        projector.answer(inbox, &receipt).await.unwrap();
        (message.subject_text.clone(), receipt)
    };
    let request = [
        "request",
        "logline.publish.acme.alice.activity",
        r#"{"who":"alice","this":"door"}"#,
        "--raw",
    ];
    let (answer, (subject, receipt)) = deadline(SOON, async {
        tokio::join!(ask(&nats, &bus, &request), sealing)
    })
    .await;
    assert_eq!(answer.unwrap(), receipt.to_json());
    assert_eq!(subject, "ingest.acme.alice.activity");
}

#[tokio::test]
async fn a_body_is_passed_on_as_it_is() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    let id = SpanId::from_uuid(uuid::Uuid::from_u128(5));
    let bodies = [
        r#"{ "who":"alice",   "this":"door" }"#.to_owned(),
        format!(r#"{{ "id":"{id}", "who":"alice","this":"door" }}"#),
        format!(
            r#"{{ "who":"alice","this":"door","public_key":"{}","signature":"ed25519:{}" }}"#,
            "ab".repeat(32),
            "cd".repeat(64)
        ),
    ];
    let service = bus.serve_publish(Limits::STANDARD).await.unwrap();
    let shutdown = CancellationToken::new();
    let published = async {
        for (seq, body) in (1..).zip(&bodies) {
            let publish = ["pub", "logline.publish.acme.alice.activity", body];
            nats_cli(&nats, &publish).await.unwrap();
            while bus.ingest_state().await.unwrap().last < seq {}
            let kept = bus.ingest_at(seq).await.unwrap().unwrap();
            assert_eq!(kept.body, body.as_bytes());
        }
        shutdown.cancel();
    };
    deadline(SOON, async {
        tokio::join!(service.run(shutdown.clone()), published)
    })
    .await;
}

#[tokio::test]
async fn a_request_that_is_refused_is_told_so_and_kept() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    let refused = [
        (
            "logline.publish.acme.alice.activity",
            "{not json",
            "malformed_json",
        ),
        (
            "logline.publish.acme.alice.activity",
            r#"{"who":"a","this":"b","colour":1}"#,
            "unknown_field",
        ),
        (
            "logline.publish.acme.Alice.activity",
            "{}",
            "invalid_address",
        ),
        ("logline.publish.acme.alice", "{}", "invalid_address"),
        (
            "logline.publish.acme.edge:run_code.execution",
            "{}",
            "reserved_principal",
        ),
    ];
    for (subject, body, code) in refused {
        let answer = ask(&nats, &bus, &["request", subject, body, "--raw"])
            .await
            .unwrap();
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["success"], false);
        assert_eq!(answer["code"], code, "{subject} {body}");
    }
    let subjects = nats_cli(&nats, &["stream", "subjects", "QUARANTINE", "--json"])
        .await
        .unwrap();
    let subjects: serde_json::Value = serde_json::from_str(&subjects).unwrap();
    assert_eq!(subjects["quarantine.acme.invalid_address"], 2, "{subjects}");
    assert_eq!(subjects["quarantine.acme.malformed_json"], 1);
    assert_eq!(subjects["quarantine.acme.reserved_principal"], 1);
    assert_eq!(bus.ingest_state().await.unwrap().last, 0);
}

#[tokio::test]
async fn a_bus_that_refuses_is_named() {
    let nats = Nats::start().await;
    let tiny = logline_bus::Config {
        ingest_bytes_max: 10,
        ..config(&nats)
    };
    let bus = Bus::connect(&tiny).await.unwrap();
    bus.migrate().await.unwrap();
    let request = [
        "request",
        "logline.publish.acme.alice.activity",
        r#"{"who":"alice","this":"door"}"#,
        "--raw",
    ];
    let answer = ask(&nats, &bus, &request).await.unwrap();
    assert!(answer.contains("ingest_full"), "{answer}");
}

#[tokio::test]
async fn the_service_tells_of_itself() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    for subject in ["$SRV.PING", "$SRV.INFO", "$SRV.STATS.logline"] {
        let answer = ask(&nats, &bus, &["request", subject, "", "--raw"])
            .await
            .unwrap();
        assert!(
            answer.contains(r#""name":"logline""#),
            "{subject}: {answer}"
        );
    }
    let info = ask(&nats, &bus, &["request", "$SRV.INFO.logline", "", "--raw"])
        .await
        .unwrap();
    assert!(
        info.contains("logline.publish.\\u003e") || info.contains("logline.publish.>"),
        "{info}"
    );
}
