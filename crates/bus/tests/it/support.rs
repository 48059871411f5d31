//! What the tests share: connections, spans, the stock client.

use std::{process::Stdio, time::Duration};

use bytes::Bytes;
use logline_bus::{Bus, Config, Intake, IntakeConfig, Outgoing, Subject, TimelineEntry};
use logline_span::{Arrival, Draft, Encoding, Head, Limits, Sealed, SpanId, Timestamp};
use logline_testkit::Nats;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Long enough for a loaded machine, short enough to notice.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) fn config(nats: &Nats) -> Config {
    Config {
        url: nats.url(),
        connection_name: "test".to_owned(),
        replicas: 1,
        ingest_bytes_max: 64 * 1024 * 1024,
        user_password: None,
        ca_file: None,
        open_inboxes: true,
    }
}

pub(crate) async fn connect(nats: &Nats) -> Bus {
    Bus::connect(&config(nats)).await.unwrap()
}

/// A connection, with every stream made.
pub(crate) async fn migrated(nats: &Nats) -> Bus {
    let bus = connect(nats).await;
    assert_eq!(bus.migrate().await.unwrap(), vec![]);
    bus
}

pub(crate) fn json(body: impl Into<Bytes>) -> Outgoing {
    Outgoing {
        body: body.into(),
        encoding: Encoding::Json,
        traceparent: None,
        receipt: None,
        depth: None,
    }
}

pub(crate) fn ingest(tenant: &str, principal: &str, entity_type: &str) -> Subject {
    Subject::Ingest {
        tenant: tenant.parse().unwrap(),
        principal: principal.parse().unwrap(),
        entity_type: entity_type.parse().unwrap(),
    }
}

/// A chain of sealed spans of one tenant.
pub(crate) struct Chain {
    head: Head,
    made: u128,
}

impl Chain {
    pub(crate) fn new() -> Self {
        Self {
            head: Head::genesis("test/acme"),
            made: 0,
        }
    }

    pub(crate) fn seal(&mut self, entity_type: &str, status: Option<&str>) -> Sealed {
        let mut fields = serde_json::json!({ "who": "alice", "this": "door" });
        if let Some(status) = status {
            fields["status"] = status.into();
        }
        self.seal_fields(&fields, "acme", "alice", entity_type)
    }

    pub(crate) fn seal_fields(
        &mut self,
        fields: &serde_json::Value,
        tenant: &str,
        owner: &str,
        entity_type: &str,
    ) -> Sealed {
        self.made += 1;
        let draft = Draft::parse(
            fields.to_string().as_bytes(),
            Encoding::Json,
            &Limits::STANDARD,
        );
        let time = Timestamp::from_micros(1_700_000_000_000_000);
        let span = draft.unwrap().complete(
            &Arrival {
                tenant: &tenant.parse().unwrap(),
                principal: &owner.parse().unwrap(),
                entity_type: Some(&entity_type.parse().unwrap()),
                received_at: time,
                trace_id: None,
                id: SpanId::from_uuid(uuid::Uuid::from_u128(self.made)),
            },
            &Limits::STANDARD,
        );
        let span = span.unwrap();
        let hash = span.content_hash();
        self.head.seal(span, hash, owner.parse().unwrap(), time)
    }

    pub(crate) fn entries(&mut self, count: usize) -> Vec<TimelineEntry> {
        (0..count)
            .map(|_| entry(&self.seal("activity", None)))
            .collect()
    }
}

pub(crate) fn entry(sealed: &Sealed) -> TimelineEntry {
    TimelineEntry {
        subject: Subject::timeline(&sealed.span),
        body: sealed.to_json().into(),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        depth: 3,
    }
}

pub(crate) fn intake_config() -> IntakeConfig {
    IntakeConfig {
        take_over: Duration::from_secs(2),
        ack_wait: Duration::from_secs(2),
        max_ack_pending: 20_000,
        batch_max: 1000,
    }
}

/// Reads until `count` messages came, each in its place.
pub(crate) async fn read(intake: &mut Intake, count: usize, mut from: u64) -> Vec<u64> {
    let mut seqs = Vec::new();
    while seqs.len() < count {
        let messages = intake.next(1000, Duration::ZERO, from).await.unwrap();
        for message in messages.iter().filter(|message| !message.again) {
            assert!(message.seq >= from, "{} before {from}", message.seq);
            from = message.seq + 1;
            seqs.push(message.seq);
        }
    }
    seqs
}

pub(crate) async fn publish(bus: &Bus, count: usize) {
    for n in 0..count {
        let body = format!(r#"{{"who":"alice","this":"door {n}"}}"#);
        bus.publish(&ingest("acme", "alice", "activity"), json(body))
            .await
            .unwrap();
    }
}

/// Runs the stock client; what it wrote to standard output, or what it complained of.
pub(crate) async fn nats_cli(nats: &Nats, arguments: &[&str]) -> Result<String, String> {
    nats_cli_at(&nats.url(), arguments).await
}

/// The same at another address.
pub(crate) async fn nats_cli_at(server: &str, arguments: &[&str]) -> Result<String, String> {
    let output = tokio::process::Command::new(logline_testkit::nats_cli())
        .args(["--server", server, "--timeout", "10s"])
        .args(arguments)
        // Its own settings of whoever runs the tests do not matter.
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

/// A connection that says what it likes; clients would wait for answers that never come.
pub(crate) struct Raw(TcpStream);

impl Raw {
    /// Connects with what a login adds to the greeting, in JSON and after a comma.
    pub(crate) async fn connect(nats: &Nats, login: &str) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", nats.port()))
            .await
            .unwrap();
        let text = format!("CONNECT {{\"verbose\":false,\"headers\":true{login}}}\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
        Self(stream)
    }

    /// Whether the server takes the line; what it forbids, it says before it answers the ping.
    pub(crate) async fn is_allowed(&mut self, line: &str) -> bool {
        let answer = self.say(line).await;
        assert!(!answer.contains("Authorization"), "{answer}");
        !answer.contains("Permissions Violation")
    }

    pub(crate) async fn say(&mut self, line: &str) -> String {
        self.0
            .write_all(format!("{line}\r\nPING\r\n").as_bytes())
            .await
            .unwrap();
        let mut answer = Vec::new();
        while !answer.windows(6).any(|it| it == b"PONG\r\n") {
            let mut buffer = [0; 4096];
            let read = self.0.read(&mut buffer).await.unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
            answer.extend(&buffer[..read]);
        }
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Reads on until the text has come by; all that came.
    pub(crate) async fn read_until(&mut self, wanted: &str) -> String {
        let mut heard = String::new();
        while !heard.contains(wanted) {
            let mut buffer = vec![0; 65536];
            let read = self.0.read(&mut buffer).await.unwrap();
            assert!(read > 0, "{heard}");
            heard.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        heard
    }
}
