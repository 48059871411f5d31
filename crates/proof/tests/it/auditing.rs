//! A whole log against its head.

use logline_proof::audit::{Audit, Broken};
use logline_proof::{
    Algorithm, Checkpoint, Frontier, NodeHash, Origin, Policy, SignedCheckpoint, VerifierKey,
};
use logline_span::{
    Arrival, Draft, Encoding, EntityType, Hash, Head, Limits, Principal, Sealed, SigningKey,
    SpanId, TenantId, Timestamp,
};

const ORIGIN: &str = "log.example/acme";

fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32])
}

fn policy() -> Policy {
    let name = ORIGIN.parse().unwrap();
    Policy::log_alone(VerifierKey::new(
        name,
        Algorithm::Ed25519,
        key().public_key(),
    ))
}

fn chain(count: i64) -> Vec<Sealed> {
    let (tenant, principal): (TenantId, Principal) =
        ("acme".parse().unwrap(), "alice".parse().unwrap());
    let entity_type: EntityType = "activity".parse().unwrap();
    let mut head = Head::genesis(ORIGIN);
    (1..=count)
        .map(|number| {
            let body = format!(r#"{{"who":"alice","this":"door {number}"}}"#);
            let time = Timestamp::from_micros(number);
            let arrival = Arrival {
                tenant: &tenant,
                principal: &principal,
                entity_type: Some(&entity_type),
                received_at: time,
                trace_id: None,
                id: SpanId::derived(number, "subject", body.as_bytes()),
            };
            let draft = Draft::parse(body.as_bytes(), Encoding::Json, &Limits::STANDARD).unwrap();
            let span = draft.complete(&arrival, &Limits::STANDARD).unwrap();
            let content = span.content_hash();
            head.seal(span, content, principal.clone(), time)
        })
        .collect()
}

fn head(spans: &[Sealed]) -> SignedCheckpoint {
    let mut tree = Frontier::new();
    for span in spans {
        tree.append(NodeHash::of_span(&span.curr_hash));
    }
    let origin: Origin = ORIGIN.parse().unwrap();
    Checkpoint::new(origin, tree.head()).sign(&key()).unwrap()
}

fn audit(spans: &[Sealed], head: &SignedCheckpoint) -> Result<u64, (usize, Broken)> {
    let mut audit = Audit::new(&ORIGIN.parse().unwrap());
    for (place, span) in spans.iter().enumerate() {
        audit.step(span).map_err(|broken| (place, broken))?;
    }
    audit
        .finish(head, &policy())
        .map_err(|broken| (spans.len(), broken))
}

#[test]
fn any_change_to_a_log_is_found_where_it_is_led_10() {
    let spans = chain(12);
    let signed = head(&spans);
    assert_eq!(audit(&spans, &signed), Ok(12));
    for place in 0..spans.len() {
        let changed = |change: fn(&mut Sealed)| {
            let mut spans = spans.clone();
            change(&mut spans[place]);
            audit(&spans, &signed)
        };
        assert_eq!(
            changed(|span| span.span.who = "mallory".to_owned()),
            Err((place, Broken::Content))
        );
        assert_eq!(
            changed(|span| span.prev_hash = Hash::of(b"x")),
            Err((place, Broken::Link))
        );
        assert_eq!(
            changed(|span| span.curr_hash = Hash::of(b"x")),
            Err((place, Broken::Content))
        );
        assert_eq!(
            changed(|span| span.span.tenant_id = "other".parse().unwrap()),
            Err((place, Broken::Foreign))
        );
        assert_eq!(
            changed(|span| span.span.public_key = Some(key().public_key())),
            Err((place, Broken::Signature))
        );
        let mut dropped = spans.clone();
        dropped.remove(place);
        let broken = if place + 1 == spans.len() {
            Broken::Head
        } else {
            let wanted = place as u64 + 1;
            Broken::Gap { wanted }
        };
        assert_eq!(audit(&dropped, &signed), Err((place, broken)));
    }
}

#[test]
fn a_head_of_other_spans_or_of_another_key_is_refused() {
    let spans = chain(3);
    let shorter = head(&spans[..2]);
    assert_eq!(audit(&spans, &shorter), Err((3, Broken::Head)));
    let origin: Origin = ORIGIN.parse().unwrap();
    let other = Checkpoint::new(origin, head(&spans).checkpoint().head)
        .sign(&SigningKey::from_seed(&[8; 32]))
        .unwrap();
    assert!(matches!(
        audit(&spans, &other),
        Err((3, Broken::Untrusted(_)))
    ));
}
