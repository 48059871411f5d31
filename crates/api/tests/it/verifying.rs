//! Signed heads, keys and proofs over HTTP (LED-8, LED-10).

use std::time::Duration;

use logline_proof::{InclusionProof, Policy, SignedCheckpoint, VerifierKey};
use logline_signer::{Config, Resources, Signer};
use logline_span::SigningKey;
use logline_testkit::deadline;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    client::{Answer, Client},
    world::{PATIENCE, World},
};

/// Waits out the second in which what is sealed is signed.
pub(crate) async fn signed(client: &Client, path: &str) -> Answer {
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    let answer = async {
        loop {
            let answer = client.get(path).await;
            if answer.status != 404 || answer.header("retry-after").is_empty() {
                return answer;
            }
            ticks.tick().await;
        }
    };
    deadline(PATIENCE, answer).await
}

pub(crate) fn signer(world: &World) -> JoinSet<()> {
    let resources = Resources {
        bus: world.bus.clone(),
        ledger: world.signers_ledger(),
        key: SigningKey::from_seed(&[9; 32]),
    };
    let config = Config {
        interval: Duration::from_millis(50),
        parallel_max: 2,
        witnesses: Vec::new(),
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(Signer::new(config, resources).run(CancellationToken::new()));
    tasks
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_from_the_api_verifies_with_the_key_from_the_api() {
    let world = World::new().await;
    let alice = world.alice();
    let note = json!({"entity_type": "note", "who": "ann", "this": "a", "visibility": "tenant"});
    let receipt = alice.seal(&note).await;
    let path = format!("/api/proofs/{}", receipt["id"].as_str().unwrap());
    // Sealed and not signed: no signer has begun.
    let early = alice.get(&path).await;
    assert_eq!(early.problem(), "404 not_found");
    assert_eq!(early.header("retry-after"), "1");

    let _signer = signer(&world);
    let file = signed(&alice, &path).await;
    assert_eq!(
        (file.status, file.header("content-type")),
        (200, "text/plain; charset=utf-8")
    );
    let keys = alice.get("/api/log/keys").await.text;
    let key: VerifierKey = keys.trim_end().parse().unwrap();
    assert_eq!(key.name().as_str(), "log.test/acme");
    let proof: InclusionProof = file.text.parse().unwrap();
    let link = proof.verify_link(&Policy::log_alone(key.clone())).unwrap();
    assert_eq!(receipt["curr_hash"], link.curr_hash.to_string());
    let head = signed(&alice, "/api/checkpoints/acme").await.text;
    let head: SignedCheckpoint = head.parse().unwrap();
    Policy::log_alone(key).trust(&head).unwrap();

    // Others of the tenant read it too, strangers nothing of it.
    assert_eq!(world.bob().get(&path).await.status, 200);
    for stranger in [world.eve(), world.anonymous()] {
        for path in [path.as_str(), "/api/checkpoints/acme"] {
            assert_eq!(stranger.get(path).await.problem(), "404 not_found");
        }
        assert_eq!(stranger.get("/api/log/keys").await.text, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_span_is_not_proved_to_others_of_its_tenant() {
    let world = World::new().await;
    let _signer = signer(&world);
    let note = json!({"entity_type": "note", "who": "ann", "this": "a", "visibility": "private"});
    let receipt = world.alice().seal(&note).await;
    let path = format!("/api/proofs/{}", receipt["id"].as_str().unwrap());
    assert_eq!(signed(&world.alice(), &path).await.status, 200);
    let refused = world.bob().get(&path).await;
    assert_eq!(refused.problem(), "404 not_found");
    assert_eq!(refused.header("retry-after"), "", "waiting does not help");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_names_no_log_or_span_is_refused_with_its_place() {
    let world = World::new().await;
    let alice = world.alice();
    for (path, problem) in [
        ("/api/proofs/x", "400 invalid_value /id"),
        (
            "/api/proofs/0190f3c8-7d2e-7cc3-98c5-dc0c0c07398f",
            "404 not_found",
        ),
        (
            "/api/proofs/0190f3c8-7d2e-7cc3-98c5-dc0c0c07398f?seq=x",
            "400 invalid_query /seq",
        ),
        ("/api/checkpoints/Not%20One", "400 invalid_value /tenant"),
        ("/api/checkpoints/acme?cosigned=true", "404 not_found"),
        (
            "/api/checkpoints/acme?cosigned=maybe",
            "400 invalid_query /cosigned",
        ),
        ("/api/log/keys?tenant=acme", "400 invalid_query /tenant"),
    ] {
        assert_eq!(alice.get(path).await.problem(), problem, "{path}");
    }
}
