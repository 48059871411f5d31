//! BUS-7: who may do what, against a server that was told in the words of `access::accounts`.

use std::fmt::Write as _;

use expect_test::expect;
use logline_bus::{
    Bus, Secret,
    access::{self, Clients, Login},
};
use logline_span::{Code, Limits};
use logline_testkit::{Nats, deadline};
use tokio_util::sync::CancellationToken;

use crate::support::{Chain, Raw, SOON, config, entry, nats_cli};

const PASSWORD: &str = "test";

/// One address of each class, and calls of the server that would reach beyond a part's own.
const ADDRESSES: [&str; 34] = [
    "ingest.acme.alice.activity",
    "ingest.acme.bootstrap:seed.manifest",
    "ingest.acme.edge:observer.request",
    "ingest.acme.edge:observer.execution",
    "ingest.acme.edge:run_code.execution",
    "ingest.acme.edge:run_code.law.decision",
    "ingest.acme.edge:worker.incident",
    "ingest.acme.edge:signer.incident",
    "ingest.acme.edge:projector.incident",
    "timeline.acme.public.alice._.activity",
    "timer.set.acme.function.x",
    "timer.due.acme.function.x",
    "ledger.checkpoint.acme",
    "quarantine.acme.malformed_json",
    "receipt.acme.alice.x",
    "logline.publish.acme.alice.activity",
    "_R_.abc",
    "_INBOX.abc",
    "$JS.API.STREAM.INFO.TIMELINE",
    "$JS.API.STREAM.CREATE.OTHER",
    "$JS.API.STREAM.UPDATE.INGEST",
    "$JS.API.STREAM.DELETE.TIMELINE",
    "$JS.API.STREAM.PURGE.INGEST",
    "$JS.API.STREAM.PURGE.TIMELINE",
    "$JS.API.STREAM.PURGE.TIMERS",
    "$JS.API.STREAM.MSG.DELETE.TIMERS",
    "$JS.API.STREAM.MSG.GET.INGEST",
    "$JS.API.DIRECT.GET.INGEST",
    "$JS.API.DIRECT.GET.TIMELINE",
    "$JS.API.DIRECT.GET.QUARANTINE",
    "$JS.API.CONSUMER.CREATE.INGEST.projector-0",
    "$JS.API.CONSUMER.MSG.NEXT.TIMELINE.actors-worker",
    "$JS.ACK.INGEST.projector-0.1.1.1.1.1",
    "$JS.ACK.TIMELINE.actors-worker.1.1.1.1.1",
];

async fn server() -> Nats {
    let accounts = access::accounts(|_| PASSWORD.to_owned(), &Clients::Open);
    Nats::start_with(format!("jetstream {{}}\n{accounts}")).await
}

/// A part's login, as a connection says it.
fn credentials(login: Login) -> String {
    format!(r#","user":"{}","pass":"{PASSWORD}""#, login.name())
}

async fn login(nats: &Nats, login: Login) -> Bus {
    let config = logline_bus::Config {
        user_password: Some((login.name().to_owned(), Secret::new(PASSWORD))),
        ca_file: None,
        open_inboxes: false,
        ..config(nats)
    };
    Bus::connect(&config).await.unwrap()
}

#[tokio::test]
async fn each_login_publishes_where_its_part_must_and_nowhere_else() {
    let nats = server().await;
    let mut found = String::new();
    let mut connections = Vec::new();
    for login in Login::ALL {
        connections.push((login.name(), Raw::connect(&nats, &credentials(login)).await));
    }
    connections.push(("client", Raw::connect(&nats, "").await));
    for address in ADDRESSES {
        let mut allowed = Vec::new();
        for (name, connection) in &mut connections {
            // The operator has no bounds and the server would obey; the clients' account has no streams that it could ask for.
            let skipped = match *name {
                "operator" => address.starts_with("$JS.API.STREAM."),
                "client" => address.starts_with("$JS."),
                _ => false,
            };
            if !skipped && connection.is_allowed(&format!("PUB {address} 0\r\n")).await {
                allowed.push(*name);
            }
        }
        let allowed = if allowed.is_empty() {
            "nobody".to_owned()
        } else {
            allowed.join(" ")
        };
        writeln!(found, "{address}: {allowed}").unwrap();
    }
    expect![[r#"
        ingest.acme.alice.activity: operator api outbox client
        ingest.acme.bootstrap:seed.manifest: operator
        ingest.acme.edge:observer.request: operator observer
        ingest.acme.edge:observer.execution: operator
        ingest.acme.edge:run_code.execution: operator worker
        ingest.acme.edge:run_code.law.decision: operator
        ingest.acme.edge:worker.incident: operator worker
        ingest.acme.edge:signer.incident: operator signer
        ingest.acme.edge:projector.incident: operator projector
        timeline.acme.public.alice._.activity: operator projector
        timer.set.acme.function.x: operator observer
        timer.due.acme.function.x: operator
        ledger.checkpoint.acme: operator signer
        quarantine.acme.malformed_json: operator projector api client
        receipt.acme.alice.x: operator projector api
        logline.publish.acme.alice.activity: operator client
        _R_.abc: operator projector api client
        _INBOX.abc: operator api callout client
        $JS.API.STREAM.INFO.TIMELINE: projector signer observer worker api outbox
        $JS.API.STREAM.CREATE.OTHER: nobody
        $JS.API.STREAM.UPDATE.INGEST: nobody
        $JS.API.STREAM.DELETE.TIMELINE: nobody
        $JS.API.STREAM.PURGE.INGEST: projector
        $JS.API.STREAM.PURGE.TIMELINE: nobody
        $JS.API.STREAM.PURGE.TIMERS: observer
        $JS.API.STREAM.MSG.DELETE.TIMERS: nobody
        $JS.API.STREAM.MSG.GET.INGEST: projector
        $JS.API.DIRECT.GET.INGEST: operator projector
        $JS.API.DIRECT.GET.TIMELINE: operator projector
        $JS.API.DIRECT.GET.QUARANTINE: operator
        $JS.API.CONSUMER.CREATE.INGEST.projector-0: operator projector
        $JS.API.CONSUMER.MSG.NEXT.TIMELINE.actors-worker: operator signer worker api
        $JS.ACK.INGEST.projector-0.1.1.1.1.1: operator projector
        $JS.ACK.TIMELINE.actors-worker.1.1.1.1.1: operator worker
    "#]]
    .assert_eq(&found);
}

#[tokio::test]
async fn each_login_hears_its_own_answers_and_nobody_elses() {
    let nats = server().await;
    for login in Login::ALL {
        let mut connection = Raw::connect(&nats, &credentials(login)).await;
        let operates = login == Login::Operator;
        for (address, allowed) in [
            (
                format!("_INBOX.{}.>", login.name()),
                login != Login::Callout,
            ),
            ("_INBOX.>".to_owned(), operates),
            ("_INBOX.other.>".to_owned(), operates),
            ("ingest.>".to_owned(), operates),
            ("timeline.>".to_owned(), operates),
            (
                "logline.publish.>".to_owned(),
                operates || login == Login::Api,
            ),
        ] {
            let line = format!("SUB {address} 1");
            assert_eq!(
                connection.is_allowed(&line).await,
                allowed,
                "{} {address}",
                login.name()
            );
        }
    }
}

/// Names each address as the one to answer to, in each call that a client may make or try.
async fn aim_at_everything(nats: &Nats) {
    let mut client = Raw::connect(nats, "").await;
    client.say("SUB timeline.> 1").await;
    for address in ADDRESSES {
        for call in [
            "ingest.acme.alice.activity",
            "logline.publish.acme.alice.activity",
            "logline.replay.acme.alice",
            "$JS.API.DIRECT.GET.TIMELINE",
            "$JS.API.STREAM.MSG.GET.TIMELINE",
            "$JS.API.CONSUMER.MSG.NEXT.TIMELINE.actors-worker",
        ] {
            // A replay brings a span whose text its publisher chose.
            let request = if call.contains("replay") {
                "{}"
            } else {
                r#"{"seq":1}"#
            };
            client
                .say(&format!(
                    "PUB {call} {address} {}\r\n{request}",
                    request.len()
                ))
                .await;
        }
    }
    let request = ["request", "logline.replay.acme.alice", "{}", "--raw"];
    let answer = nats_cli(nats, &request).await.unwrap();
    assert!(answer.contains("curr_hash"), "{answer}");
}

/// The server and the service answer to whatever address a client names. None of them is one of the system's.
#[tokio::test]
async fn an_answer_goes_to_no_address_of_the_system_whatever_the_client_names() {
    let nats = server().await;
    let operator = login(&nats, Login::Operator).await;
    operator.migrate().await.unwrap();
    let sealed = Chain::new().seal("activity", None);
    operator
        .timeline_append(1, &[entry(&sealed)])
        .await
        .unwrap();
    let api = login(&nats, Login::Api).await;
    let service = api.serve_publish(Limits::STANDARD).await.unwrap();
    let replay = api.serve_replay().await.unwrap();
    let shutdown = CancellationToken::new();
    let attack = async {
        aim_at_everything(&nats).await;
        // Answers come in order: what was asked before is answered.
        let request = [
            "request",
            "logline.publish.acme.alice.activity",
            "{",
            "--raw",
        ];
        let answer = nats_cli(&nats, &request).await.unwrap();
        assert!(answer.contains(Code::MalformedJson.as_str()), "{answer}");
        shutdown.cancel();
    };
    deadline(SOON, async {
        tokio::join!(
            service.run(shutdown.clone()),
            replay.run(shutdown.clone()),
            attack
        )
    })
    .await;
    assert_eq!(operator.timeline_last().await.unwrap(), 1);
    assert_eq!(operator.timeline_at(1).await.unwrap(), Some(sealed));
    let mut kept = String::new();
    for stream in ["INGEST", "TIMELINE", "TIMERS", "CHECKPOINTS", "QUARANTINE"] {
        let operator = ["--user", Login::Operator.name(), "--password", PASSWORD];
        let subjects = ["stream", "subjects", stream, "--names"];
        let subjects = nats_cli(&nats, &[operator, subjects].concat()).await;
        writeln!(kept, "{stream}: {}", subjects.unwrap_or_default()).unwrap();
    }
    expect![[r#"
        INGEST: ingest.acme.alice.activity
        TIMELINE: timeline.acme.private.alice._.activity
        TIMERS: No subjects found matching >
        CHECKPOINTS: No subjects found matching >
        QUARANTINE: quarantine.acme.malformed_json
    "#]]
    .assert_eq(&kept);
}
