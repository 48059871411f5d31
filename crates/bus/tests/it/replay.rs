//! BUS-6: history over the bus, for who may see it, with the stock client.

use logline_bus::{Bus, TimelineEntry};
use logline_span::{Reader, Visibility};
use logline_testkit::{Nats, deadline};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{Chain, SOON, entry, migrated, nats_cli};

const TENANTS: [&str; 2] = ["acme", "other"];
const OWNERS: [&str; 3] = ["alice", "bob", "a.b"];
const VISIBILITIES: [Visibility; 3] = [Visibility::Private, Visibility::Tenant, Visibility::Public];

/// Runs the service while the stock client asks.
async fn ask(nats: &Nats, bus: &Bus, address: &str, body: &str) -> Vec<Value> {
    let service = bus.serve_replay().await.unwrap();
    let shutdown = CancellationToken::new();
    let asking = async {
        let arguments = [
            "request",
            address,
            body,
            "--raw",
            "--replies",
            "0",
            "--wait-for-empty",
        ];
        let said = nats_cli(nats, &arguments).await;
        shutdown.cancel();
        said.unwrap()
    };
    let said = deadline(SOON, async {
        tokio::join!(service.run(shutdown.clone()), asking)
    })
    .await
    .1;
    // Headers come before each body.
    let lines = said.lines().filter(|line| line.starts_with('{'));
    lines.map(|it| serde_json::from_str(it).unwrap()).collect()
}

async fn sealed(nats: &Nats) -> (Bus, Vec<logline_span::Sealed>) {
    let bus = migrated(nats).await;
    let mut chain = Chain::new();
    let mut sealed = Vec::new();
    for tenant in TENANTS {
        for owner in OWNERS {
            for visibility in VISIBILITIES {
                let fields = json!({"who": "x", "this": "y", "visibility": visibility.to_string()});
                sealed.push(chain.seal_fields(&fields, tenant, owner, "activity"));
            }
        }
    }
    let entries: Vec<TimelineEntry> = sealed.iter().map(entry).collect();
    bus.timeline_append(1, &entries).await.unwrap();
    (bus, sealed)
}

/// Every reader is shown exactly what the ledger's rule shows.
#[tokio::test]
async fn each_reader_is_shown_what_the_rule_shows() {
    let nats = Nats::start().await;
    let (bus, sealed) = sealed(&nats).await;
    for (tenant, principal, token) in [
        ("acme", "alice", "alice"),
        ("acme", "a.b", "a%2Eb"),
        ("other", "bob", "bob"),
        ("third", "alice", "alice"),
    ] {
        let reader = Reader {
            tenant: tenant.parse().unwrap(),
            principal: principal.parse().unwrap(),
        };
        let expected: Vec<Value> = sealed
            .iter()
            .filter(|it| reader.may_read(&it.span.tenant_id, &it.span.owner_id, it.span.visibility))
            .map(|it| serde_json::from_str(&it.to_json()).unwrap())
            .collect();
        let address = format!("logline.replay.{tenant}.{token}");
        assert_eq!(ask(&nats, &bus, &address, "").await, expected, "{address}");
    }
}

#[tokio::test]
async fn a_replay_goes_on_where_it_ended() {
    let nats = Nats::start().await;
    let (bus, sealed) = sealed(&nats).await;
    let some = ask(
        &nats,
        &bus,
        "logline.replay.acme.alice",
        r#"{"after":2,"limit":2}"#,
    )
    .await;
    // Of those after the second, alice may see her own public one, and bob's for the tenant.
    let ids: Vec<_> = some.iter().map(|it| it["id"].clone()).collect();
    let expected = [2, 4].map(|n: usize| json!(sealed[n].span.id.to_string()));
    assert_eq!(ids, expected);
    let beyond = ask(&nats, &bus, "logline.replay.acme.alice", r#"{"after":99}"#);
    assert_eq!(beyond.await[0]["pointer"], "/after");
    let unknown = ask(
        &nats,
        &bus,
        "logline.replay.acme.alice",
        r#"{"filter":">"}"#,
    );
    assert_eq!(unknown.await[0]["code"], "invalid_value");
}
