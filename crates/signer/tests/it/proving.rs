//! Proofs for readers (LED-10).

use logline_bus::Receipt;
use logline_ledger::{Provable, ReaderSession};
use logline_proof::InclusionProof;
use logline_span::{Hash, SpanId};

use crate::world::{World, policy, tenant};

/// LED-10
const BYTES_MAX: usize = 2048;

async fn sealed(world: &World, visibility: &str) -> (SpanId, Hash, u64) {
    let more = format!(r#","visibility":"{visibility}""#);
    match world.seal("acme", &more).await {
        Receipt::Sealed {
            id,
            position,
            curr_hash,
            ..
        } => (id, curr_hash, position.get()),
        Receipt::Refused(refusal) => panic!("{refusal}"),
    }
}

async fn proof(session: &ReaderSession, id: SpanId) -> Option<InclusionProof> {
    match session.proof(id, None).await.unwrap()? {
        Provable::Proof(proof) => Some(*proof),
        Provable::NotYet => panic!("a signed head covers it"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn led_10_a_span_is_proved_to_who_may_read_it_and_to_nobody_else() {
    let world = World::new().await;
    let _projector = world.projector();
    let _signer = world.signer().await;
    world.seal_many("acme", 300).await;
    let mut spans = Vec::new();
    for visibility in ["private", "tenant", "public"] {
        spans.push(sealed(&world, visibility).await);
    }
    world.seal_many("acme", 300).await;
    world.signed("acme", 603).await;
    let readers = [
        (world.person("acme", "alice"), [true, true, true]),
        (world.person("acme", "bob"), [false, true, true]),
        (world.person("beta", "alice"), [false, false, true]),
        (world.reader().as_reader(None), [false, false, true]),
    ];
    for (session, may) in readers {
        for ((id, curr_hash, position), may) in spans.iter().zip(may) {
            let proof = proof(&session, *id).await;
            assert_eq!(proof.is_some(), may, "position {position}");
            let Some(proof) = proof else { continue };
            proof.verify(curr_hash, &policy("acme")).unwrap();
            let link = proof.verify_link(&policy("acme")).unwrap();
            assert_eq!(
                (link.position.get(), link.curr_hash),
                (*position, *curr_hash)
            );
            let file = proof.to_string();
            assert!(file.len() <= BYTES_MAX, "{} bytes", file.len());
            assert_eq!(file.parse(), Ok(proof));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_that_no_head_covers_is_not_proved_yet() {
    let world = World::new().await;
    let _projector = world.projector();
    let (id, ..) = sealed(&world, "tenant").await;
    let session = world.person("acme", "bob");
    assert_eq!(
        session.proof(id, None).await.unwrap(),
        Some(Provable::NotYet)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_and_keys_are_for_those_who_belong_to_the_tenant() {
    let world = World::new().await;
    let _projector = world.projector();
    let _signer = world.signer().await;
    for name in ["acme", "beta", "system"] {
        world.seal(name, "").await;
        world.signed(name, 1).await;
    }
    let readers = [
        (world.person("acme", "bob"), vec!["acme", "system"]),
        (world.reader().as_reader(None), vec!["system"]),
    ];
    for (session, own) in readers {
        for name in ["acme", "beta", "system"] {
            let note = session.checkpoint(&tenant(name), false).await.unwrap();
            assert_eq!(note.is_some(), own.contains(&name), "{name}");
        }
        let keys: Vec<_> = own
            .iter()
            .map(|name| policy(name).log.to_string())
            .collect();
        assert_eq!(session.log_keys().await.unwrap(), keys);
    }
}
