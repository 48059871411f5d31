//! `tlog-proof` files of sealed spans, and whom to believe.

use logline_proof::inclusion::{Policy, Unproven};
use logline_proof::note::Untrusted;
use logline_proof::{
    Algorithm, Checkpoint, InclusionProof, NodeHash, SignatureLine, SignedCheckpoint, VerifierKey,
};
use logline_span::chain::{BODY_BYTES, Link, body_hash};

use crate::{Log, ORIGIN, key};

/// The body of the link at a position, with a content hash of its own.
pub(crate) fn body(position: u64) -> [u8; BODY_BYTES] {
    let mut body = [7; BODY_BYTES];
    body[..8].copy_from_slice(&position.to_be_bytes());
    body
}

pub(crate) fn chain(size: u64) -> Log {
    Log::of((1..=size).map(|position| NodeHash::of_span(&body_hash(&body(position)))))
}

pub(crate) fn policy() -> Policy {
    Policy::log_alone(log_key())
}

fn log_key() -> VerifierKey {
    let name = ORIGIN.parse().unwrap();
    VerifierKey::new(name, Algorithm::Ed25519, key(1).public_key())
}

pub(crate) fn proof(log: &Log, index: u64, size: u64) -> InclusionProof {
    InclusionProof {
        extra: Some(body(index + 1).to_vec()),
        index,
        path: log.inclusion(index, size),
        checkpoint: log.checkpoint(size),
    }
}

#[test]
fn led_10_a_proof_at_a_million_spans_is_at_most_2048_bytes() {
    let log = chain(1_000_000);
    let mut longest = proof(&log, 1, 1_000_000);
    // The longest origin that a tenant's name makes likely.
    let name = format!("ledger.of.a.rather.long.company.example/{}", "t".repeat(64));
    let origin: logline_proof::KeyName = name.parse().unwrap();
    let checkpoint = Checkpoint::new(origin.clone().into(), log.frontier.head());
    longest.checkpoint = checkpoint.sign(&key(1)).unwrap();
    assert_eq!(longest.path.len(), 20);
    let file = longest.to_string();
    assert!(file.len() <= 2048, "{} bytes", file.len());

    let policy = Policy::log_alone(VerifierKey::new(
        origin,
        Algorithm::Ed25519,
        key(1).public_key(),
    ));
    let read: InclusionProof = file.parse().unwrap();
    let link = read.verify_link(&policy).unwrap();
    assert_eq!(Some(link), Link::read(&body(2)));
    assert_eq!(read.verify(&body_hash(&body(2)), &policy), Ok(()));
}

#[test]
fn led_10_a_proof_binds_the_content_hash_and_the_position() {
    let log = chain(300);
    let good = proof(&log, 41, 300);
    let link = good.verify_link(&policy()).unwrap();
    assert_eq!(link.position.get(), 42);
    assert_eq!(link.content_hash.as_bytes(), &[7; 32]);

    let bare = InclusionProof {
        extra: None,
        ..good.clone()
    };
    assert_eq!(bare.verify(&link.curr_hash, &policy()), Ok(()));
    assert_eq!(bare.verify_link(&policy()), Err(Unproven::NoBody));
    let short = InclusionProof {
        extra: Some(vec![0; BODY_BYTES - 1]),
        ..good.clone()
    };
    assert_eq!(short.verify_link(&policy()), Err(Unproven::NoBody));
    let nowhere = InclusionProof {
        extra: Some(vec![0; BODY_BYTES]),
        ..good.clone()
    };
    assert_eq!(nowhere.verify_link(&policy()), Err(Unproven::NoBody));
    let elsewhere = InclusionProof {
        extra: Some(body(43).to_vec()),
        ..good.clone()
    };
    assert_eq!(elsewhere.verify_link(&policy()), Err(Unproven::Position));
    let mut other = body(42);
    other[60] ^= 1;
    let other = InclusionProof {
        extra: Some(other.to_vec()),
        ..good
    };
    assert!(matches!(
        other.verify_link(&policy()),
        Err(Unproven::NotIncluded(_))
    ));
}

#[test]
fn led_10_every_single_bit_of_a_proof_file_counts() {
    let file = proof(&chain(3), 2, 3).to_string().into_bytes();
    for bit in 0..file.len() * 8 {
        let mut turned = file.clone();
        turned[bit / 8] ^= 1 << (bit % 8);
        let read = String::from_utf8(turned).ok();
        let read = read.and_then(|text| text.parse::<InclusionProof>().ok());
        assert!(
            read.is_none_or(|proof| proof.verify_link(&policy()).is_err()),
            "bit {bit}"
        );
    }
}

fn witness(seed: u8, name: &str) -> VerifierKey {
    let name = name.parse().unwrap();
    VerifierKey::new(name, Algorithm::CosignatureV1, key(seed).public_key())
}

fn cosign(checkpoint: &mut SignedCheckpoint, seed: u8, name: &str) {
    let text = checkpoint.note().text();
    let line = SignatureLine::cosign(text, &name.parse().unwrap(), &key(seed), 1_769_860_800);
    checkpoint.add(line).unwrap();
}

#[test]
fn a_policy_asks_for_the_log_and_for_so_many_witnesses() {
    let log = chain(5);
    let policy = |threshold| Policy {
        log: log_key(),
        witnesses: vec![
            witness(2, "w.example/2"),
            witness(3, "w.example/3"),
            witness(3, "w.example/4"),
        ],
        threshold,
    };
    let mut signed = log.checkpoint(5);
    let short = |seen, wanted| Err(Unproven::Witnesses { seen, wanted });
    assert!(policy(0).trust(&signed).is_ok());
    assert_eq!(policy(1).trust(&signed), short(0, 1));
    cosign(&mut signed, 9, "stranger.example");
    assert_eq!(policy(1).trust(&signed), short(0, 1));
    cosign(&mut signed, 3, "w.example/3");
    cosign(&mut signed, 3, "w.example/4");
    assert!(policy(1).trust(&signed).is_ok());
    assert_eq!(policy(2).trust(&signed), short(1, 2));
    cosign(&mut signed, 2, "w.example/2");
    assert!(policy(2).trust(&signed).is_ok());
    cosign(&mut signed, 2, "w.example/2");
    assert_eq!(
        signed.note().signatures().len(),
        5,
        "again in place of the first"
    );

    let mut forged = signed.clone();
    let other = log.checkpoint(4);
    let text = other.note().text();
    let name = "w.example/2".parse().unwrap();
    forged
        .add(SignatureLine::cosign(text, &name, &key(2), 1))
        .unwrap();
    assert_eq!(
        policy(0).trust(&forged),
        Err(Untrusted::BadSignature(name).into())
    );
}

#[test]
fn a_policy_is_about_one_log() {
    let log = chain(5);
    let other = Policy::log_alone(VerifierKey::new(
        ORIGIN.parse().unwrap(),
        Algorithm::Ed25519,
        key(4).public_key(),
    ));
    let signed = log.checkpoint(5);
    assert_eq!(other.trust(&signed), Err(Untrusted::NoKnownKey.into()));

    let mut cosigned = signed;
    cosign(&mut cosigned, 2, "w.example/2");
    let witnesses = vec![witness(2, "w.example/2")];
    let without_log = Policy {
        witnesses,
        threshold: 1,
        ..other
    };
    assert_eq!(without_log.trust(&cosigned), Err(Unproven::NotOfLog));

    let theirs = Checkpoint::new("logline.example/globex".parse().unwrap(), log.head(5));
    let mut signed = theirs.sign(&key(1)).unwrap();
    let text = signed.note().text();
    let ours = SignatureLine::sign(text, &ORIGIN.parse().unwrap(), &key(1));
    signed.add(ours).unwrap();
    assert_eq!(policy().trust(&signed), Err(Unproven::Origin));
}
