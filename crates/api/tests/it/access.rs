use std::{num::NonZeroU32, time::Duration};

use axum::{body::Body, http::Method};
use logline_access::ApiKey;
use logline_api::Rate;
use logline_ledger::{NewApiKey, enter_api_key, revoke_api_key};
use logline_span::Reader;
use logline_testkit::deadline;
use serde_json::{Value, json};

use crate::{
    client::Client,
    world::{PATIENCE, World, config},
};

const STREAM: &str = "/api/timeline/stream";

fn door(extra: Value) -> Value {
    let mut span = json!({"entity_type": "activity", "who": "someone", "this": "door"});
    let fields = extra.as_object().unwrap().clone();
    span.as_object_mut().unwrap().extend(fields);
    span
}

async fn enter(world: &World, principal: &str, ttl: Option<Duration>) -> ApiKey {
    let key = ApiKey::generate();
    let entry = NewApiKey {
        id: key.id(),
        name: "of a test".to_owned(),
        digest: key.digest(),
        reader: Reader {
            tenant: "acme".parse().unwrap(),
            principal: principal.parse().unwrap(),
        },
        roles: [].into(),
        ttl,
    };
    enter_api_key(&world.admin_url(), &entry).await.unwrap();
    key
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_publishes_as_its_subject_and_reads_what_that_one_may() {
    let world = World::new().await;
    let carol = world.minted("acme", "carol", Duration::from_secs(60));
    let receipt = carol.seal(&door(json!({}))).await;
    let path = format!("/api/spans/{}", receipt["id"].as_str().unwrap());
    let span = carol.get(&path).await.json();
    assert_eq!(
        (&span["owner_id"], &span["tenant_id"], &span["published_by"]),
        (&json!("carol"), &json!("acme"), &json!("carol"))
    );
    // The same name elsewhere is somebody else.
    let other = world.minted("other", "carol", Duration::from_secs(60));
    assert_eq!(other.get(&path).await.status, 404);
    assert_eq!(world.alice().get(&path).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_key_ends_when_it_is_revoked_and_when_its_time_is_over() {
    let world = World::new().await;
    let key = enter(&world, "sensor", None).await;
    let sensor = world.by(&key.expose());
    sensor.seal(&door(json!({}))).await;
    let twin = ApiKey::generate().expose();
    assert_eq!(
        world.by(&twin).get("/api/timeline").await.problem(),
        "401 unauthorized"
    );
    let url = world.admin_url();
    assert!(revoke_api_key(&url, &key.id()).await.unwrap());
    assert!(!revoke_api_key(&url, &key.id()).await.unwrap(), "once");
    assert_eq!(
        sensor.publish(&door(json!({}))).await.problem(),
        "401 unauthorized"
    );
    let over = enter(&world, "sensor", Some(Duration::ZERO)).await;
    assert_eq!(
        world
            .by(&over.expose())
            .get("/api/timeline")
            .await
            .problem(),
        "401 unauthorized"
    );
}

/// API-2: the database itself refuses a key of the system, whoever enters it.
#[tokio::test(flavor = "multi_thread")]
async fn no_api_key_stands_for_the_system() {
    let world = World::new().await;
    for (tenant, principal) in [
        ("system", "alice"),
        ("acme", "edge:worker"),
        ("acme", "bootstrap:seed"),
    ] {
        let key = ApiKey::generate();
        let entry = NewApiKey {
            id: key.id(),
            name: "n".to_owned(),
            digest: key.digest(),
            reader: Reader {
                tenant: tenant.parse().unwrap(),
                principal: principal.parse().unwrap(),
            },
            roles: [].into(),
            ttl: None,
        };
        assert!(
            enter_api_key(&world.admin_url(), &entry).await.is_err(),
            "{principal} of {tenant}"
        );
    }
}

/// Whatever a request says of itself beside its token says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_identity_is_not_had_by_saying_so() {
    let world = World::new().await;
    let private = world.alice().seal(&door(json!({}))).await;
    let path = format!("/api/spans/{}", private["id"].as_str().unwrap());
    let forged = [
        ("x-forwarded-user", "alice"),
        ("x-remote-user", "alice"),
        ("x-logline-principal", "alice"),
        ("logline-principal", "alice"),
        ("app.user_id", "alice"),
        ("x-forwarded-for", "127.0.0.1"),
        ("cookie", "token=alice's"),
        ("proxy-authorization", "Bearer alice's"),
    ];
    for reader in [world.anonymous(), world.bob(), world.eve()] {
        let mut request = reader.request(Method::GET, &path);
        for (name, value) in forged {
            request = request.header(name, value);
        }
        let request = request.header("x-logline-tenant", "acme");
        assert_eq!(reader.send(request, Body::empty()).await.status, 404);
    }
    for query in ["access_token=alice%27s", "token=alice%27s", "user_id=alice"] {
        let answer = world.anonymous().get(&format!("{path}?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
    }
    let bodies = [
        (json!({"owner_id": "alice"}), "403 owner_mismatch /owner_id"),
        (
            json!({"tenant_id": "other"}),
            "403 tenant_mismatch /tenant_id",
        ),
        (
            json!({"published_by": "alice"}),
            "400 ledger_field /published_by",
        ),
        (json!({"signed_by": "bound"}), "400 ledger_field /signed_by"),
        (json!({"who": "edge:worker"}), "422 reserved_name /who"),
        (
            json!({"idempotency_key": "edge:1"}),
            "422 reserved_key /idempotency_key",
        ),
        (
            json!({"entity_type": "execution"}),
            "422 reserved_type /entity_type",
        ),
    ];
    for (extra, problem) in bodies {
        let answer = world.bob().publish(&door(extra)).await;
        assert_eq!(answer.problem(), problem);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_took_first_is_not_taken_over() {
    let world = World::new().await;
    let id = "0190f3c8-7d2e-7cc3-98c5-dc0c0c07398f";
    let (alice, bob, eve) = (world.alice(), world.bob(), world.eve());
    let first = alice
        .seal(&door(json!({"id": id, "idempotency_key": "order-1"})))
        .await;
    // A key is its owner's: a colleague's and another tenant's are other keys, and tell nothing of this one.
    for other in [&bob, &eve] {
        let receipt = other
            .seal(&door(json!({"idempotency_key": "order-1"})))
            .await;
        assert_eq!(receipt.get("duplicate"), None);
        assert_ne!(receipt["id"], first["id"]);
    }
    // An id is a tenant's: a colleague is refused whatever the version, and another tenant has one of its own.
    for seq in [0, 1, 7] {
        let taken = bob.publish(&door(json!({"id": id, "seq": seq}))).await;
        assert!(
            taken.problem().starts_with("409 version_"),
            "{}",
            taken.text
        );
        assert!(!taken.text.contains("alice"), "{}", taken.text);
    }
    let theirs = eve
        .seal(&door(
            json!({"id": id, "this": "gate", "visibility": "public"}),
        ))
        .await;
    assert_ne!(theirs["curr_hash"], first["curr_hash"]);
    let path = format!("/api/spans/{id}");
    assert_eq!(alice.get(&path).await.json()["this"], "door");
    assert_eq!(eve.get(&path).await.json()["this"], "gate");
    let second = alice.seal(&door(json!({"id": id, "seq": 1}))).await;
    assert_eq!(second["seq"], 1, "its owner goes on");
    // Both kept what they have, also as a deleted version.
    let deleted = bob
        .publish(&door(json!({"id": id, "seq": 2, "is_deleted": true})))
        .await;
    assert!(deleted.problem().starts_with("409 version_owner"));
}

fn rate(burst: u32) -> Option<Rate> {
    // One a minute of the clock would be as good: no request of a test is let through by waiting.
    Some(Rate {
        per_second: NonZeroU32::MIN,
        burst: NonZeroU32::new(burst).unwrap(),
    })
}

async fn let_through(client: &Client, attempts: usize) -> usize {
    let mut passed = 0;
    for _ in 0..attempts {
        let answer = client.get("/api/timeline").await;
        match answer.status {
            429 => {
                assert_eq!(answer.problem(), "429 rate_limited");
                let wait: u64 = answer.header("retry-after").parse().unwrap();
                assert!((1..=2).contains(&wait), "{wait}");
            }
            _ => passed += 1,
        }
    }
    passed
}

#[tokio::test(flavor = "multi_thread")]
async fn each_principal_has_a_rate_of_its_own_and_strangers_share_one_by_address() {
    let world = World::with(logline_api::Config {
        rate: rate(5),
        ..config()
    })
    .await;
    let began = std::time::Instant::now();
    let alice = let_through(&world.alice(), 60).await;
    // Another token of the same principal is no other rate; the same name in another tenant is.
    let again = let_through(&world.minted("acme", "alice", PATIENCE), 60).await;
    let eve = let_through(&world.eve(), 60).await;
    let anonymous = let_through(&world.anonymous(), 60).await;
    let guessing = let_through(&world.by("guessed"), 60).await;
    let replenished = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
    let burst = 5..=5 + replenished;
    assert!(burst.contains(&alice) && burst.contains(&eve) && burst.contains(&anonymous));
    assert!(
        again <= replenished && guessing <= replenished,
        "{again} {guessing}"
    );
    assert_eq!(world.anonymous().get("/healthz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_cannot_take_every_stream_nor_one_principal() {
    let world = World::with(logline_api::Config {
        streams_max: 8,
        streams_anonymous_max: 2,
        streams_per_reader_max: 3,
        heartbeat_ms: 20,
        ..config()
    })
    .await;
    let mut open = Vec::new();
    for (client, most) in [(world.anonymous(), 2), (world.alice(), 3), (world.bob(), 3)] {
        for _ in 0..most {
            open.push(client.follow(STREAM, None).await);
        }
        let answer = client.get(STREAM).await;
        assert_eq!(answer.problem(), "429 rate_limited");
    }
    assert_eq!(
        world.eve().get(STREAM).await.problem(),
        "429 rate_limited",
        "all eight are taken"
    );
    open.remove(0);
    let freed = async { while world.anonymous().status(STREAM).await == 429 {} };
    deadline(PATIENCE, freed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_cannot_take_every_connection() {
    let world = World::with(logline_api::Config {
        connections_per_address_max: 1,
        heartbeat_ms: 20,
        ..config()
    })
    .await;
    let first = world.alice().follow(STREAM, None).await;
    assert!(world.alice().connect().await.is_none(), "closed at once");
    drop(first);
    let freed = async { while world.alice().connect().await.is_none() {} };
    deadline(PATIENCE, freed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_token() {
    let world = World::new().await;
    let carol = world.minted("acme", "carol", Duration::from_secs(2));
    let mut stream = carol.follow(STREAM, None).await;
    carol.seal(&door(json!({}))).await;
    assert_eq!(stream.span().await["this"], "door");
    assert_eq!(stream.end().await, "expired");
}
