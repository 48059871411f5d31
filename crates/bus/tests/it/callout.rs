//! BUS-7, DEP-3: a token opens the bus to its holder, as far as the ledger would show and take things, and no further.

use std::{future::ready, time::Duration};

use logline_bus::{
    Admitted, Bus, Secret,
    access::{self, Clients, Login},
    issuer,
};
use logline_span::{Reader, SigningKey, Timestamp};
use logline_testkit::{Nats, deadline};
use tokio_util::sync::CancellationToken;

use crate::support::{SOON, config, ingest, nats_cli};

const PASSWORD: &str = "test";

pub(crate) struct World {
    pub(crate) nats: Nats,
    pub(crate) operator: Bus,
    callout: logline_bus::Callout,
}

pub(crate) async fn world() -> World {
    let key = SigningKey::from_seed(&[7; 32]);
    let clients = Clients::Callout {
        issuer: issuer(&key).unwrap(),
    };
    let accounts = access::accounts(|_| PASSWORD.to_owned(), &clients);
    let nats = Nats::start_with(format!("jetstream {{}}\n{accounts}")).await;
    let login = async |login: Login| {
        let config = logline_bus::Config {
            user_password: Some((login.name().to_owned(), Secret::new(PASSWORD))),
            ca_file: None,
            open_inboxes: false,
            ..config(&nats)
        };
        Bus::connect(&config).await.unwrap()
    };
    let operator = login(Login::Operator).await;
    operator.migrate().await.unwrap();
    let callout = login(Login::Callout).await.serve_callout(&key).await;
    World {
        operator,
        callout: callout.unwrap(),
        nats,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a token ends at a time of the wall clock"
)]
fn now() -> Timestamp {
    Timestamp::from_micros(chrono::Utc::now().timestamp_micros())
}

/// `<tenant>/<principal>` is that identity's token here.
fn identify(token: &Secret, expires_at: Option<Timestamp>) -> Option<Admitted> {
    let (tenant, principal) = token.expose().split_once('/')?;
    let reader = Reader {
        tenant: tenant.parse().ok()?,
        principal: principal.parse().ok()?,
    };
    Some(Admitted { reader, expires_at })
}

impl World {
    /// Runs the callout beside.
    pub(crate) async fn with<T>(
        self,
        expires_at: Option<Timestamp>,
        act: impl AsyncFnOnce(&Nats, &Bus) -> T,
    ) -> T {
        let shutdown = CancellationToken::new();
        let Self {
            nats,
            operator,
            callout,
        } = self;
        let answering = callout.run(
            |token| ready(identify(&token, expires_at)),
            shutdown.clone(),
        );
        let acting = async {
            let outcome = act(&nats, &operator).await;
            shutdown.cancel();
            outcome
        };
        deadline(SOON, async { tokio::join!(answering, acting) })
            .await
            .1
    }
}

/// Publishes as the token's holder; what the server said to it.
async fn publish(nats: &Nats, token: &str, subject: &str) -> String {
    let arguments = ["--token", token, "--trace", "pub", subject, "{}"];
    match nats_cli(nats, &arguments).await {
        Ok(said) | Err(said) => said.to_lowercase(),
    }
}

#[tokio::test]
async fn a_token_lets_its_holder_publish_as_itself_alone() {
    world()
        .await
        .with(None, async |nats, operator| {
            for subject in [
                "ingest.acme.bob.activity",
                "ingest.other.alice.activity",
                "ingest.acme.edge:observer.request",
                "logline.publish.acme.bob.activity",
                "$JS.API.STREAM.INFO.INGEST",
            ] {
                let said = publish(nats, "acme/alice", subject).await;
                assert!(said.contains("permissions violation"), "{subject}: {said}");
            }
            publish(nats, "acme/alice", "ingest.acme.alice.activity").await;
            assert_eq!(operator.ingest_state().await.unwrap().messages, 1);
        })
        .await;
}

#[tokio::test]
async fn no_token_and_a_token_of_the_system_open_nothing() {
    world()
        .await
        .with(None, async |nats, _| {
            for token in [
                "nobody",
                "acme/edge:observer",
                "system/alice",
                "acme/bootstrap:seed",
            ] {
                let said = publish(nats, token, "ingest.acme.alice.activity").await;
                assert!(said.contains("authorization"), "{token}: {said}");
            }
            let arguments = ["request", "ingest.acme.alice.activity", "{}"];
            let refused = nats_cli(nats, &arguments).await.unwrap_err();
            assert!(refused.contains("uthorization"), "{refused}");
        })
        .await;
}

#[tokio::test]
async fn a_holder_hears_what_the_ledger_would_show_and_nothing_else() {
    world()
        .await
        .with(None, async |nats, _| {
            for (subject, allowed) in [
                ("timeline.acme.private.alice.>", true),
                ("timeline.acme.tenant.>", true),
                ("timeline.acme.tenant.bob.*.law.>", true),
                ("timeline.*.public.>", true),
                ("timeline.other.public.>", true),
                ("ledger.checkpoint.acme", true),
                ("receipt.acme.alice.x", true),
                ("timeline.acme.private.bob.>", false),
                ("timeline.acme.*.>", false),
                ("timeline.other.tenant.>", false),
                ("timeline.>", false),
                ("receipt.acme.bob.>", false),
                ("receipt.>", false),
                ("ledger.checkpoint.other", false),
                ("_INBOX.>", false),
                ("ingest.>", false),
                (">", false),
            ] {
                let arguments = [
                    "--token",
                    "acme/alice",
                    "--inbox-prefix",
                    "receipt.acme.alice",
                    "sub",
                    subject,
                    "--count",
                    "1",
                    "--wait",
                    "300ms",
                ];
                let said = match nats_cli(nats, &arguments).await {
                    Ok(said) | Err(said) => said,
                };
                let refused = said.to_lowercase().contains("permissions violation");
                assert_eq!(refused, !allowed, "{subject}: {said}");
            }
        })
        .await;
}

/// A principal that needs encoding is told apart from those that look like it.
#[tokio::test]
async fn a_name_with_dots_is_one_token() {
    world()
        .await
        .with(None, async |nats, operator| {
            let arguments = [
                "--token",
                "acme/a.b",
                "--inbox-prefix",
                "receipt.acme.a%2Eb",
                "request",
                "ingest.acme.a%2Eb.activity",
                "{}",
            ];
            nats_cli(nats, &arguments).await.unwrap();
            let kept = operator.ingest_at(1).await.unwrap().unwrap();
            assert_eq!(kept.subject.unwrap(), ingest("acme", "a.b", "activity"));
        })
        .await;
}

#[tokio::test]
async fn the_end_of_a_token_ends_the_connection() {
    let soon = now().saturating_add(Duration::from_secs(2));
    world()
        .await
        .with(Some(soon), async |nats, _| {
            let config = logline_bus::Config {
                user_password: Some(("alice".to_owned(), Secret::new("acme/alice"))),
                ..config(nats)
            };
            let bus = Bus::connect(&config).await.unwrap();
            let mut connection = bus.connected();
            connection.wait_for(|now| !now.up).await.unwrap();
        })
        .await;
}
