use std::time::Duration;

use logline_bus::{Answer, Outgoing, Receipt, Subject};
use logline_span::{Draft, Encoding, Limits, SigningKey, Timestamp};
use serde_json::{Value, json};

use crate::{client::Client, world::World};

/// Publishes in `tenant` as one of the system's principals, and gives the span's id.
async fn by_system(
    world: &World,
    tenant: &str,
    principal: &str,
    kind: &str,
    span: &Value,
) -> Value {
    let subject = Subject::ingest(
        &tenant.parse().unwrap(),
        &principal.parse().unwrap(),
        &kind.parse().unwrap(),
    );
    let outgoing = Outgoing {
        body: span.to_string().into(),
        encoding: Encoding::Json,
        traceparent: None,
        receipt: None,
        depth: None,
    };
    let wait = Duration::from_secs(30);
    match world.bus.publish_sealed(&subject, outgoing, wait).await {
        Ok(Answer::Receipt(Receipt::Sealed { id, .. })) => json!({"id": id.to_string()}),
        other => panic!("not sealed: {other:?}"),
    }
}

/// Gives a tenant its first admin, as `logline tenant create` does.
async fn seed(world: &World, tenant: &str, admin: &str) {
    let span = json!({"who": "bootstrap:seed", "this": admin, "visibility": "tenant", "metadata": {"role": "admin"}});
    by_system(world, tenant, "bootstrap:seed", "role_grant", &span).await;
}

fn role(entity_type: &str, principal: &str, role: &str) -> Value {
    json!({"entity_type": entity_type, "who": "someone", "this": principal, "visibility": "tenant", "metadata": {"role": role}})
}

fn key(entity_type: &str, principal: &str, key: &SigningKey) -> Value {
    let metadata = json!({"public_key": key.public_key().to_string(), "device": "laptop"});
    json!({"entity_type": entity_type, "who": "someone", "this": principal, "visibility": "tenant", "metadata": metadata})
}

fn signed(mut span: Value, owner: &str, key: &SigningKey) -> Value {
    let fields = json!({
        "id": uuid::Uuid::now_v7().to_string(), "at": "2020-01-01T00:00:00.000000Z",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "tenant_id": "acme", "owner_id": owner,
    });
    let fields = fields.as_object().unwrap().clone();
    span.as_object_mut().unwrap().extend(fields);
    let bytes = span.to_string();
    let mut draft = Draft::parse(bytes.as_bytes(), Encoding::Json, &Limits::STANDARD).unwrap();
    draft.sign(key).unwrap();
    serde_json::from_str(&draft.to_json()).unwrap()
}

/// Who has what, as `principal value`.
async fn held(client: &Client, query: &str, list: &str, value: &str) -> Vec<String> {
    let answer = client.get(&format!("/api/standing{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let entry = |entry: &Value| {
        let text = |name: &str| entry[name].as_str().unwrap().to_owned();
        format!("{} {}", text("principal"), text(value))
    };
    answer.json()[list]
        .as_array()
        .unwrap()
        .iter()
        .map(entry)
        .collect()
}

async fn roles(client: &Client) -> Vec<String> {
    held(client, "", "roles", "role").await
}

/// GOV-6
#[tokio::test(flavor = "multi_thread")]
async fn roles_are_given_by_admins_and_follow_from_the_ledger() {
    let world = World::new().await;
    let (alice, bob, eve) = (world.alice(), world.bob(), world.eve());
    // Before there is an admin, nobody gives anything, least of all to oneself.
    bob.seal(&role("role_grant", "bob@acme.com", "admin")).await;
    alice.seal(&role("role_grant", "alice", "admin")).await;
    assert_eq!(roles(&alice).await, [""; 0]);

    seed(&world, "acme", "alice").await;
    assert_eq!(roles(&bob).await, ["alice admin"]);
    bob.seal(&role("role_grant", "bob@acme.com", "auditor"))
        .await;
    eve.seal(&role("role_grant", "alice", "admin")).await;
    assert_eq!(roles(&alice).await, ["alice admin"]);
    assert_eq!(
        roles(&eve).await,
        [""; 0],
        "another tenant's admin is none here"
    );

    alice
        .seal(&role("role_grant", "bob@acme.com", "auditor"))
        .await;
    alice
        .seal(&role("role_grant", "bob@acme.com", "admin"))
        .await;
    let granted = alice.seal(&role("role_grant", "dana", "Not A Role")).await;
    let both = ["alice admin", "bob@acme.com admin", "bob@acme.com auditor"];
    assert_eq!(roles(&alice).await, both);
    // Another admin takes it back: from then on she is none, and what she gave stays.
    bob.seal(&role("role_revoke", "alice", "admin")).await;
    alice
        .seal(&role("role_revoke", "bob@acme.com", "admin"))
        .await;
    assert_eq!(roles(&alice).await, &both[1..]);

    let id = granted["id"].as_str().unwrap();
    let then = alice.get(&format!("/api/spans/{id}")).await.json()["received_at"].clone();
    let query = format!("?as_of={}", then.as_str().unwrap());
    assert_eq!(held(&eve, &query, "roles", "role").await, [""; 0]);
    assert_eq!(held(&alice, &query, "roles", "role").await, both);
    assert_eq!(
        world.anonymous().get("/api/standing").await.problem(),
        "401 unauthorized"
    );
}

/// GOV-6: what a token says of roles is worth what the ledger says.
#[tokio::test(flavor = "multi_thread")]
async fn a_tokens_roles_are_those_that_the_ledger_grants_too() {
    let world = World::new().await;
    seed(&world, "acme", "alice").await;
    world
        .alice()
        .seal(&role("role_grant", "carol", "auditor"))
        .await;
    let verifier = world.token_verifier();
    let roles = async |principal: &str, named: &[&str]| {
        let token = world.token("acme", principal, named, Duration::from_secs(60));
        let access = verifier.verify(&token).await.unwrap();
        let roles = verifier.roles(&access).await.unwrap();
        roles.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        roles("carol", &["admin", "auditor", "ops"]).await,
        ["auditor"]
    );
    assert_eq!(roles("carol", &[]).await, [""; 0]);
    assert_eq!(roles("alice", &["admin"]).await, ["admin"]);
    world
        .alice()
        .seal(&role("role_revoke", "carol", "auditor"))
        .await;
    assert_eq!(roles("carol", &["auditor"]).await, [""; 0], "at once");
}

/// How readers see a signature: on the page, alone, and on the stream.
async fn signed_by(reader: &Client, receipt: &Value) -> String {
    let path = format!("/api/spans/{}", receipt["id"].as_str().unwrap());
    let span = reader.get(&path).await.json();
    let page = reader.get("/api/timeline?limit=1000").await.json();
    let listed = page["spans"].as_array().unwrap();
    let listed = listed.iter().find(|it| it["id"] == span["id"]).unwrap();
    assert_eq!(listed["signed_by"], span["signed_by"]);
    let before = world_position(&span) - 1;
    let mut stream = reader
        .follow(&format!("/api/timeline/stream?after={before}"), None)
        .await;
    assert_eq!(stream.span().await["signed_by"], span["signed_by"]);
    span["signed_by"].as_str().unwrap_or("absent").to_owned()
}

/// In a world of one tenant a span's position is its number on the timeline.
fn world_position(span: &Value) -> u64 {
    span["position"].as_u64().unwrap()
}

/// GOV-7, SPAN-10
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_its_owners_from_when_it_was_bound_until_it_was_revoked() {
    let world = World::new().await;
    let (alice, bob) = (world.alice(), world.bob());
    let [first, second, foreign] = [1, 2, 3].map(|seed| SigningKey::from_seed(&[seed; 32]));
    let me = "bob@acme.com";
    let door =
        || json!({"entity_type": "activity", "who": "bob", "this": "door", "visibility": "tenant"});
    let keys = async || held(&alice, "", "keys", "public_key").await.len();
    seed(&world, "acme", "alice").await;

    // Unbound: integrity only. And nobody binds a key to oneself without one, or to another.
    let early = bob.seal(&signed(door(), me, &first)).await;
    bob.seal(&key("key", me, &first)).await;
    bob.seal(&signed(key("key", me, &first), me, &first)).await;
    bob.seal(&key("key", "alice", &foreign)).await;
    assert_eq!(keys().await, 0);
    alice.seal(&key("key", me, &first)).await;
    assert_eq!(keys().await, 1);
    let bound = bob.seal(&signed(door(), me, &first)).await;
    // With a bound key its owner binds another, and not somebody else's.
    bob.seal(&signed(key("key", me, &second), me, &first)).await;
    bob.seal(&signed(key("key", "alice", &foreign), me, &first))
        .await;
    assert_eq!(keys().await, 2);
    let by_second = bob.seal(&signed(door(), me, &second)).await;
    // Another's bound key proves nothing of who published.
    let borrowed = alice.seal(&signed(door(), "alice", &first)).await;
    alice.seal(&key("key_revoke", me, &first)).await;
    // Dated before the revocation, received after it.
    let late = bob.seal(&signed(door(), me, &first)).await;
    bob.seal(&signed(key("key", me, &foreign), me, &first))
        .await;
    assert_eq!(keys().await, 1, "a revoked key binds no other");
    let unsigned = bob.seal(&door()).await;
    // What the system publishes for somebody is not that one's word, whoever's its key is said to be.
    alice.seal(&key("key", me, &foreign)).await;
    let executed = json!({"entity_type": "execution", "who": "edge:worker", "this": "run_code", "visibility": "tenant"});
    let executed = signed(executed, me, &foreign);
    let executed = by_system(&world, "acme", "edge:worker", "execution", &executed).await;

    for (receipt, wanted) in [
        (&early, "unbound"),
        (&bound, "bound"),
        (&by_second, "bound"),
        (&borrowed, "unbound"),
        (&late, "unbound"),
        (&unsigned, "absent"),
        (&executed, "unbound"),
    ] {
        for reader in [&alice, &bob] {
            assert_eq!(signed_by(reader, receipt).await, wanted, "{receipt}");
        }
    }
    // What readers see can be checked again as it is.
    let path = format!("/api/spans/{}", bound["id"].as_str().unwrap());
    let text = bob.get(&path).await.text;
    let checked = logline_span::check::check(text.as_bytes(), Encoding::Json, &Limits::STANDARD);
    assert!(checked.is_success(), "{checked}");
    let sealed = logline_span::Sealed::from_json(text.as_bytes()).unwrap();
    assert!(sealed.received_at > Timestamp::from_micros(0));
}
