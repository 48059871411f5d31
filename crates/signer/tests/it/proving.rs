//! Proofs for readers (LED-10).

use logline_bus::Receipt;
use logline_ledger::{Provable, ReaderSession};
use logline_proof::{EntryBundle, InclusionProof, NodeHash, Tile};
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
async fn tiles_growth_and_state_of_a_log_are_for_those_who_belong_to_the_tenant() {
    let world = World::new().await;
    let _projector = world.projector();
    let _signer = world.signer().await;
    for name in ["acme", "beta"] {
        world.seal_many(name, 300).await;
        world.signed(name, 300).await;
    }
    let (name, session) = (tenant("acme"), world.person("acme", "bob"));
    let (full, partial) = (Tile::new(0, 0, 256).unwrap(), Tile::new(0, 1, 44).unwrap());
    let leaves = world.leaves("acme").await;
    for (tile, range) in [(full, 0..256), (partial, 256..300)] {
        let bytes = session.tile(&name, &tile).await.unwrap();
        assert_eq!(bytes, Some(Tile::bytes(&leaves[range])));
    }
    let bundle = EntryBundle::new(1, 44).unwrap();
    let entries = bundle
        .read(&session.entries(&bundle).await.unwrap().unwrap())
        .unwrap();
    let hashed: Vec<_> = entries.iter().map(NodeHash::of_span).collect();
    assert_eq!(hashed, leaves[256..]);
    assert!(
        session
            .log_state(&name)
            .await
            .unwrap()
            .unwrap()
            .signed
            .unwrap()
            .is_reproduced
    );

    for stranger in [world.person("beta", "bob"), world.reader().as_reader(None)] {
        assert_eq!(stranger.tile(&name, &full).await.unwrap(), None);
        assert_eq!(stranger.consistency(&name, 1, None).await.unwrap(), None);
        assert_eq!(stranger.log_state(&name).await.unwrap(), None);
    }
    // Whoever asks for a bundle gets the own tenant's.
    let others = world
        .person("beta", "bob")
        .entries(&bundle)
        .await
        .unwrap()
        .unwrap();
    assert_ne!(bundle.read(&others).unwrap(), entries);
    assert_eq!(
        world
            .reader()
            .as_reader(None)
            .entries(&bundle)
            .await
            .unwrap(),
        None
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_node_that_is_not_the_rows_is_told_in_the_state_led_9() {
    let world = World::new().await;
    let _projector = world.projector();
    let signer = world.signer().await;
    world.seal_many("acme", 300).await;
    world.signed("acme", 300).await;
    signer.stop().await;
    world.tamper(
        "node",
        "node_no_update",
        "update ledger.node set hash = sha256('x')",
    );
    let session = world.person("acme", "bob");
    let state = session.log_state(&tenant("acme")).await.unwrap().unwrap();
    let signed = state.signed.unwrap();
    assert!(signed.is_signed && !signed.is_reproduced);
    world.tamper("node", "node_no_update", "delete from ledger.node");
    let state = session.log_state(&tenant("acme")).await.unwrap().unwrap();
    assert!(!state.signed.unwrap().is_reproduced);
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
