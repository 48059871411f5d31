//! BUS-2, BUS-3, BUS-4: publishing, receipts and headers that reach too far.

use std::time::Duration;

use logline_bus::{Answer, Bus, Error, Receipt, ReceiptToken, Subject};
use logline_span::{Code, Hash, Position, Refusal, Seq, SpanId, Timestamp};
use logline_testkit::{Nats, deadline};

use crate::support::{
    SOON, config, connect, ingest, intake_config, json, migrated, nats_cli, publish,
};

#[tokio::test]
async fn what_is_published_is_numbered_and_kept() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    let subject = ingest("acme", "employee@company.com", "activity");
    let mut outgoing = json(r#"{"who":"a","this":"b"}"#);
    outgoing.traceparent =
        Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned());
    outgoing.depth = Some(4);
    let seq = bus.publish(&subject, outgoing.clone()).await.unwrap();
    assert_eq!(seq.0, 1);

    let kept = bus.ingest_at(1).await.unwrap().unwrap();
    assert_eq!(kept.subject.as_ref(), Ok(&subject));
    assert_eq!(kept.body, outgoing.body);
    assert_eq!(kept.traceparent, outgoing.traceparent);
    assert_eq!(kept.depth, None, "a person's depth does not count (BUS-3)");
    let token = ReceiptToken::new(seq, &subject, &outgoing.body);
    assert_eq!(token.digest, kept.fingerprint().digest);
    assert_eq!(token.to_string().parse(), Ok(token));
    assert_eq!(bus.ingest_at(2).await.unwrap().map(|it| it.seq), None);

    let system = ingest("acme", "edge:observer", "request");
    let seq = bus.publish(&system, outgoing).await.unwrap();
    assert_eq!(bus.ingest_at(seq.0).await.unwrap().unwrap().depth, Some(4));
}

#[tokio::test]
async fn the_stock_client_publishes_without_ceremony() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    let body = r#"{"who":"alice","this":"door"}"#;
    nats_cli(&nats, &["pub", "ingest.acme.alice.activity", body])
        .await
        .unwrap();
    let mut intake = bus.intake(intake_config()).await.unwrap();
    let messages = deadline(SOON, intake.next(10, Duration::ZERO, 1))
        .await
        .unwrap();
    assert_eq!(messages[0].subject, Ok(ingest("acme", "alice", "activity")));
    assert_eq!(messages[0].body, body);
}

#[tokio::test]
async fn a_full_intake_refuses_and_overwrites_nothing() {
    let nats = Nats::start().await;
    let small = logline_bus::Config {
        ingest_bytes_max: 2000,
        ..config(&nats)
    };
    let bus = Bus::connect(&small).await.unwrap();
    bus.migrate().await.unwrap();
    let subject = ingest("acme", "alice", "activity");
    let mut taken = 0;
    let error = loop {
        match bus.publish(&subject, json("x".repeat(400))).await {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Full), "{error:?}");
    let state = bus.ingest_state().await.unwrap();
    assert_eq!((state.first, state.messages), (1, taken));
    assert_eq!(state.bytes_max, Some(2000));

    bus.purge_ingest(2).await.unwrap();
    bus.publish(&subject, json("x".repeat(100))).await.unwrap();
    assert_eq!(bus.ingest_state().await.unwrap().first, 2);
}

#[tokio::test]
async fn what_cannot_be_taken_fails_with_a_type() {
    let nats = Nats::start().await;
    let bus = connect(&nats).await;
    let subject = ingest("acme", "alice", "activity");
    let error = bus.publish(&subject, json("{}")).await.unwrap_err();
    assert!(matches!(error, Error::NoStream { .. }), "{error:?}");
    bus.migrate().await.unwrap();
    // Over what INGEST takes, and over what the server takes.
    for bytes in [1024 * 1024, 2 * 1024 * 1024] {
        let error = bus
            .publish(&subject, json(vec![b'x'; bytes]))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");
    }
    bus.publish(&subject, json(vec![b'x'; 1024 * 1024 - 1024]))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_publish_waits_no_longer_than_the_server_may_be_away() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    nats.pause();
    let subject = ingest("acme", "alice", "activity");
    let error = deadline(SOON, bus.publish(&subject, json("{}")))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Timeout), "{error:?}");
    nats.resume();
}

#[tokio::test]
async fn publishing_goes_on_after_the_server_came_back() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    publish(&bus, 3).await;
    nats.kill().await;
    let mut connection = bus.connected();
    deadline(SOON, connection.wait_for(|it| !it.up))
        .await
        .unwrap();
    nats.restart().await.unwrap();
    deadline(SOON, connection.wait_for(|it| it.up))
        .await
        .unwrap();
    // JetStream may need a moment more than the connection.
    let subject = ingest("acme", "alice", "activity");
    let seq = deadline(SOON, async {
        loop {
            if let Ok(seq) = bus.publish(&subject, json("{}")).await {
                return seq;
            }
        }
    });
    assert!(
        seq.await.0 >= 4,
        "what was acknowledged before the kill is kept"
    );
}

/// BUS-4: each of these lets a client reach beyond its own address where the stream accepts it.
#[tokio::test]
async fn intake_takes_no_schedules_rollups_or_lifetimes() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    publish(&bus, 2).await;
    for header in [
        "Nats-Schedule:@every 1s",
        "Nats-Rollup:all",
        "Nats-Rollup:sub",
        "Nats-TTL:1",
        "Nats-Expected-Last-Sequence:99",
        "Nats-Incr:1",
    ] {
        let target = "Nats-Schedule-Target:ingest.other.bob.request";
        let publish = [
            "req",
            "ingest.acme.mallory.activity",
            "{}",
            "-H",
            header,
            "-H",
            target,
        ];
        let answer = nats_cli(&nats, &publish).await.unwrap_or_default();
        assert!(answer.contains("\"error\""), "{header}: {answer}");
    }
    let state = bus.ingest_state().await.unwrap();
    assert_eq!((state.first, state.last, state.messages), (1, 2, 2));
}

/// BUS-3: the system sends no message id, so nobody's guess of one can suppress its messages.
#[tokio::test]
async fn a_guessed_message_id_suppresses_nobody() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    let id = [
        "pub",
        "ingest.acme.mallory.activity",
        "{}",
        "-H",
        "Nats-Msg-Id:guess",
        "--count",
        "3",
    ];
    nats_cli(&nats, &id).await.unwrap();
    let mut last = bus.ingest_state().await.unwrap().last;
    for _ in 0..5 {
        let seq = bus
            .publish(&ingest("acme", "alice", "activity"), json("{}"))
            .await
            .unwrap();
        assert!(seq.0 > last);
        last = seq.0;
    }
}

fn sealed() -> Receipt {
    Receipt::Sealed {
        id: SpanId::from_uuid(uuid::Uuid::from_u128(7)),
        seq: Seq::ZERO,
        at: Timestamp::from_micros(1_700_000_000_000_001),
        position: Position::FIRST,
        curr_hash: Hash::of(b"x"),
        duplicate: false,
    }
}

#[tokio::test]
async fn a_receipt_finds_the_publisher_that_waits() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    let projector = connect(&nats).await;
    let mut intake = projector.intake(intake_config()).await.unwrap();
    let subject = ingest("acme", "alice", "activity");
    let refused = Receipt::Refused(Refusal::new(Code::MissingField, "no").at("/who"));
    for receipt in [sealed(), refused] {
        let from = bus.ingest_state().await.unwrap().last + 1;
        let wait = bus.publish_sealed(&subject, json("{}"), SOON);
        let answer = async {
            let messages = intake.next(10, Duration::ZERO, from).await.unwrap();
            let inbox = messages[0].receipt.as_deref().unwrap();
            projector.answer(inbox, &receipt).await.unwrap();
        };
        let (answered, ()) = deadline(SOON, async { tokio::join!(wait, answer) }).await;
        assert_eq!(answered.unwrap(), Answer::Receipt(receipt));
    }
    let wait = bus.publish_sealed(&subject, json("{}"), Duration::from_millis(50));
    let pending = deadline(SOON, wait).await.unwrap();
    assert!(
        matches!(pending, Answer::Pending { seq } if seq.0 == 3),
        "{pending:?}"
    );
}

/// BUS-2: the system must never be talked into writing elsewhere.
#[tokio::test]
async fn a_receipt_goes_to_no_address_but_an_inbox_of_the_publisher() {
    let nats = Nats::start().await;
    let open = migrated(&nats).await;
    let strict = logline_bus::Config {
        ca_file: None,
        open_inboxes: false,
        ..config(&nats)
    };
    let strict = Bus::connect(&strict).await.unwrap();
    let named = async |reply: &str| {
        let mut outgoing = json("{}");
        outgoing.receipt = Some(reply.to_owned());
        let seq = open
            .publish(&ingest("acme", "a.b", "activity"), outgoing)
            .await
            .unwrap();
        let receipt = |it: Option<logline_bus::Incoming>| it.unwrap().receipt.is_some();
        (
            receipt(open.ingest_at(seq.0).await.unwrap()),
            receipt(strict.ingest_at(seq.0).await.unwrap()),
        )
    };
    for (reply, expected) in [
        ("_R_.abc.def", (true, true)),
        ("receipt.acme.a%2Eb.x.1", (true, true)),
        ("_INBOX.x.1", (true, false)),
        ("receipt.acme.a%2Eb", (false, false)),
        ("receipt.acme.bob.x", (false, false)),
        ("receipt.other.a%2Eb.x", (false, false)),
        ("receipt.acme.a%2Eb.*", (false, false)),
        ("_INBOX.>", (false, false)),
        ("_INBOX..x", (false, false)),
        ("_INBOX.x.", (false, false)),
        ("_R_", (false, false)),
        ("_R_x.y", (false, false)),
        ("ingest.acme.edge:observer.request", (false, false)),
        ("timer.set.acme.observer.1", (false, false)),
        ("timeline.acme.public.alice._.activity", (false, false)),
        ("$JS.API.STREAM.DELETE.INGEST", (false, false)),
        ("$JS.ACK.INGEST.projector-0.1.1.1.1.1", (false, false)),
        ("", (false, false)),
    ] {
        assert_eq!(named(reply).await, expected, "{reply}");
    }
}

#[test]
fn receipts_are_written_as_specified() {
    let json = sealed().to_json();
    expect_test::expect![[r#"{"success":true,"id":"00000000-0000-0000-0000-000000000007","seq":0,"at":"2023-11-14T22:13:20.000001Z","position":1,"curr_hash":"blake3:3ae7d805f6789a6402acb70ad4096a85a56bf6804eaf25c0493ac697548d30b5"}"#]].assert_eq(&json);
    assert_eq!(Receipt::from_json(json.as_bytes()).unwrap(), sealed());
    let refused = Receipt::Refused(Refusal::new(Code::MissingField, "must be there").at("/who"));
    let json = refused.to_json();
    expect_test::expect![[
        r#"{"success":false,"code":"missing_field","pointer":"/who","detail":"must be there"}"#
    ]]
    .assert_eq(&json);
    assert_eq!(Receipt::from_json(json.as_bytes()).unwrap(), refused);
    for bad in [
        "",
        "{}",
        "null",
        r#"{"success":true}"#,
        r#"{"success":false,"code":"x"}"#,
    ] {
        assert!(Receipt::from_json(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[tokio::test]
async fn a_refused_message_is_kept_once_with_its_bytes_and_the_reason() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    let largest = vec![b'x'; 1024 * 1024 - 512];
    for body in [b"{not json".to_vec(), largest] {
        let subject = Subject::Ingest {
            tenant: "acme".parse().unwrap(),
            principal: "alice".parse().unwrap(),
            entity_type: "activity".parse().unwrap(),
        };
        let seq = bus.publish(&subject, json(body.clone())).await.unwrap();
        let incoming = bus.ingest_at(seq.0).await.unwrap().unwrap();
        // A client chooses the names of its fields, and with them the pointer.
        let refusal = Refusal::new(Code::MalformedJson, "line\nbreak")
            .at(format!("/{}", "é".repeat(100_000)));
        let refused = logline_bus::Quarantined::incoming(&incoming, &refusal);
        for _ in 0..2 {
            bus.quarantine(&refused).await.unwrap();
        }
    }
    let info = nats_cli(&nats, &["stream", "info", "QUARANTINE", "--json"])
        .await
        .unwrap();
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["state"]["messages"], 2);
    let kept = ["stream", "get", "QUARANTINE", "1"];
    let kept = nats_cli(&nats, &kept).await.unwrap();
    for part in [
        "quarantine.acme.malformed_json",
        "Logline-Subject: ingest.acme.alice.activity",
        "Logline-Detail: line break",
        "{not json",
    ] {
        assert!(kept.contains(part), "{part}: {kept:.500}");
    }
}
