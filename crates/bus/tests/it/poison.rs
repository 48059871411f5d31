//! Headers that no honest client sends (LED-16, BUS-4): written by hand, since clients refuse to.

use std::time::Duration;

use logline_bus::Bus;
use logline_span::Code;
use logline_testkit::{Nats, deadline};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

use crate::support::{SOON, intake_config, migrated, nats_cli, publish};

/// Header blocks over which a client drops its connection, dies, or takes the message for the server's word.
const BLOCKS: [&[u8]; 8] = [
    b"NATS/1.0\r\nno colon here\r\n\r\n",
    b"NATS/1.0\r\nX: a\rb\r\n\r\n",
    b"NATS/1.0\r\nX: \xff\xfe\r\n\r\n",
    b"NATS/1.0\r\nn\xc3\xa4me: x\r\n\r\n",
    b"MOON/9.9\r\nX: y\r\n\r\n",
    b"NATS/1.0 abc\r\n\r\n",
    b"NATS/1.0 503\r\n\r\n",
    b"NATS/1.0 409 Consumer Deleted\r\n\r\n",
];

/// Headers in which a message claims to be another one.
const FORGED: &[u8] = b"NATS/1.0 204 EOB\r\nNats-Sequence: 999\r\nNats-Subject: ingest.other.bob.activity\r\nNats-Pin-Id: x\r\nNats-Stream: OTHER\r\nNats-Time-Stamp: 2001-01-01T00:00:00Z\r\n\r\n";

async fn send_raw(nats: &Nats, subject: &str, reply: &str, headers: &[u8], body: &[u8]) {
    let mut stream = TcpStream::connect(("127.0.0.1", nats.port()))
        .await
        .unwrap();
    let total = headers.len() + body.len();
    let mut text =
        b"CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n".to_vec();
    text.extend(format!("HPUB {subject} {reply} {} {total}\r\n", headers.len()).bytes());
    text.extend(headers);
    text.extend(body);
    text.extend(b"\r\nPING\r\n");
    stream.write_all(&text).await.unwrap();
    let mut answer = Vec::new();
    while !answer.windows(4).any(|it| it == b"PONG") {
        let mut buffer = [0; 1024];
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend(&buffer[..read]);
    }
    assert!(
        !answer.windows(4).any(|it| it == b"-ERR"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

/// The state says when the server has stored as many.
async fn stored(bus: &Bus, last: u64) {
    while bus.ingest_state().await.unwrap().last < last {}
}

#[tokio::test]
async fn malformed_headers_stop_nobody_and_are_not_skipped() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    publish(&bus, 2).await;
    for block in BLOCKS {
        send_raw(
            &nats,
            "ingest.evil.mallory.activity",
            "",
            block,
            b"{\"n\":1}",
        )
        .await;
        publish(&bus, 1).await;
    }
    // Two in a row, and one at the end.
    for block in [BLOCKS[0], BLOCKS[1]] {
        send_raw(&nats, "ingest.evil.mallory.activity", "", block, b"{}").await;
    }
    deadline(SOON, stored(&bus, 20)).await;

    let mut intake = bus.intake(intake_config()).await.unwrap();
    let messages = deadline(SOON * 3, async {
        let mut all = Vec::new();
        while all.len() < 20 {
            match intake.next(100, Duration::ZERO, all.len() as u64 + 1).await {
                Ok(messages) => {
                    let fresh = messages.into_iter().filter(|it| !it.again);
                    all.extend(fresh);
                }
                Err(logline_bus::Error::PinLost) => intake.claim().await.unwrap(),
                Err(error) => panic!("{error:?}"),
            }
        }
        all
    })
    .await;
    let seqs: Vec<u64> = messages.iter().map(|it| it.seq).collect();
    assert_eq!(seqs, (1..=20).collect::<Vec<_>>());
    for (n, message) in messages.iter().enumerate() {
        assert!(message.subject.is_ok());
        let evil = message.subject_text.contains("evil");
        if evil {
            assert!(
                message.body.starts_with(b"{"),
                "{n}: the raw bytes are there"
            );
        } else {
            assert!(message.encoding.is_ok(), "{n}");
        }
    }
    let refused = |n: usize| messages[n].encoding.as_ref().err().map(|it| it.code);
    assert_eq!(refused(2), Some(Code::UnsupportedEncoding));
    assert_eq!(refused(18), Some(Code::UnsupportedEncoding));

    // It stays alive: acknowledged, and open for what comes.
    intake.ack_through(20).await.unwrap();
    publish(&bus, 1).await;
    let more = deadline(SOON, intake.next(10, Duration::ZERO, 21))
        .await
        .unwrap();
    assert!(more.iter().any(|it| it.seq == 21 && !it.again), "{more:?}");
}

#[tokio::test]
async fn a_malformed_message_at_the_end_waits_for_no_other() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    let mut intake = bus.intake(intake_config()).await.unwrap();
    for (block, seq) in BLOCKS.into_iter().zip(1..) {
        send_raw(&nats, "ingest.evil.mallory.activity", "", block, b"{}").await;
        let messages = deadline(SOON, async {
            loop {
                match intake.next(10, Duration::ZERO, seq).await {
                    Ok(messages) => break messages,
                    Err(logline_bus::Error::PinLost) => intake.claim().await.unwrap(),
                    Err(error) => panic!("{error:?}"),
                }
            }
        })
        .await;
        assert!(messages.iter().any(|it| it.seq == seq), "{messages:?}");
        intake.ack_through(seq).await.unwrap();
    }
}

/// LED-7: however it is fetched.
#[tokio::test]
async fn unusual_headers_are_read_alike_in_every_way() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    let blocks: [&[u8]; 3] = [
        b"NATS/1.0\r\nX: a\r\n b: c\r\nContent-Type: application/msgpack\r\n\r\n",
        b"NATS/1.0\r\nContent-Type:application/json\n\r\n",
        b"NATS/1.0 \r\nX: \r\n\r\nContent-Type:  application/msgpack \r\n\r\n",
    ];
    for block in blocks {
        send_raw(&nats, "ingest.acme.alice.activity", "", block, b"{}").await;
    }
    deadline(SOON, stored(&bus, 3)).await;
    let mut intake = bus.intake(intake_config()).await.unwrap();
    let messages = deadline(SOON, intake.next(3, SOON, 1)).await.unwrap();
    for delivered in messages {
        let fetched = bus.ingest_at(delivered.seq).await.unwrap().unwrap();
        assert_eq!(fetched.content_type, delivered.content_type);
        assert_eq!(fetched.encoding, delivered.encoding);
        assert_eq!(fetched.fingerprint(), delivered.fingerprint());
        assert!(fetched.encoding.is_ok(), "{:?}", fetched.content_type);
    }
}

#[tokio::test]
async fn a_message_cannot_pass_for_another_one_or_for_the_servers_word() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    publish(&bus, 1).await;
    send_raw(&nats, "ingest.evil.mallory.activity", "", FORGED, b"{}").await;
    deadline(SOON, stored(&bus, 2)).await;
    publish(&bus, 2).await;
    let check = |messages: &[logline_bus::Incoming]| {
        let seen: Vec<(u64, &str)> = messages
            .iter()
            .map(|it| (it.seq, &*it.subject_text))
            .collect();
        assert_eq!(
            seen,
            [
                (1, "ingest.acme.alice.activity"),
                (2, "ingest.evil.mallory.activity"),
                (3, "ingest.acme.alice.activity"),
                (4, "ingest.acme.alice.activity"),
            ]
        );
        assert!(messages[1].time_ns > 1_500_000_000_000_000_000);
    };
    let mut intake = bus.intake(intake_config()).await.unwrap();
    check(&deadline(SOON, intake.next(4, SOON, 1)).await.unwrap());
    // And fetched by number, as after a step back.
    check(&deadline(SOON, intake.next(4, SOON, 1)).await.unwrap());
    let one = bus.ingest_at(2).await.unwrap().unwrap();
    assert_eq!(
        (one.seq, &*one.subject_text),
        (2, "ingest.evil.mallory.activity")
    );
}

#[tokio::test]
async fn the_service_survives_malformed_headers() {
    let nats = Nats::start().await;
    let bus = migrated(&nats).await;
    let service = bus
        .serve_publish(logline_span::Limits::STANDARD)
        .await
        .unwrap();
    let shutdown = CancellationToken::new();
    let running = service.run(shutdown.clone());
    let attack = async {
        for block in BLOCKS {
            send_raw(
                &nats,
                "logline.publish.evil.mallory.activity",
                "_INBOX.x",
                block,
                b"{}",
            )
            .await;
        }
        // It may be registering again just then.
        loop {
            let subject = "logline.publish.acme.alice.activity";
            let request = nats_cli(&nats, &["req", subject, "{not json", "--raw"]).await;
            if request.is_ok_and(|answer| answer.contains("malformed_json")) {
                break;
            }
        }
        shutdown.cancel();
    };
    deadline(SOON * 3, async { tokio::join!(running, attack) }).await;
}
