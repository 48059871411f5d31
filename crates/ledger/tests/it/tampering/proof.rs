//! Proofs that have left the ledger: each field of each file.

use logline_ledger::Provable;
use logline_proof::{ConsistencyProof, InclusionProof, SignedCheckpoint};
use logline_span::Hash;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::{COSIGNED, HEADS, Stage, changed, policy};
use crate::support::{person, tenant};

/// Files as readers have fetched them.
pub(super) struct Files {
    spans: Vec<(Hash, String)>,
    growths: Vec<(SignedCheckpoint, String)>,
}

impl Files {
    pub(super) async fn of(stage: &Stage) -> Self {
        let session = stage
            .ledger
            .reader()
            .as_reader(Some(&person("acme", "alice")));
        let (mut spans, mut growths) = (Vec::new(), Vec::new());
        for sealed in &stage.rows {
            let proof = match session.proof(sealed.span.id, None).await.unwrap() {
                Some(Provable::Proof(proof)) => proof,
                other => panic!("{other:?}"),
            };
            assert_eq!(
                proof.verify_link(&policy()).unwrap().curr_hash,
                sealed.curr_hash
            );
            spans.push((sealed.curr_hash, proof.to_string()));
        }
        for (from, to) in HEADS
            .into_iter()
            .flat_map(|from| COSIGNED.map(|to| (from, to)))
        {
            if from >= to {
                continue;
            }
            let old = session
                .consistency(&tenant("acme"), 0, Some(from))
                .await
                .unwrap()
                .unwrap();
            let proof = session
                .consistency(&tenant("acme"), from, Some(to))
                .await
                .unwrap()
                .unwrap();
            proof.verify(&old.checkpoint, &policy()).unwrap();
            growths.push((old.checkpoint, proof.to_string()));
        }
        Self { spans, growths }
    }

    /// Changes a file and checks it; says which kind it was.
    pub(super) fn tamper(&self, rng: &mut StdRng) -> String {
        if rng.random() {
            let (curr_hash, file) = self.spans.choose(rng).unwrap();
            let forged = differs(file, rng);
            let line = line_of(file, &forged);
            let believed = forged.parse::<InclusionProof>().ok();
            let believed = believed.and_then(|proof| proof.verify_link(&policy()).ok());
            assert!(believed.is_none(), "believed of {curr_hash}: {forged}");
            return format!("proof of a span: {line}");
        }
        let (old, file) = self.growths.choose(rng).unwrap();
        let forged = differs(file, rng);
        let line = line_of(file, &forged);
        let believed = forged.parse::<ConsistencyProof>().ok();
        let believed = believed.and_then(|proof| proof.verify(old, &policy()).ok());
        assert!(believed.is_none(), "believed: {forged}");
        format!("proof of growth: {line}")
    }
}

fn differs(text: &str, rng: &mut StdRng) -> String {
    loop {
        let other = changed(text, rng);
        if other != text {
            return other;
        }
    }
}

/// What the first line is that differs.
fn line_of(file: &str, forged: &str) -> &'static str {
    let (head, note) = file.split_once("\n\n").unwrap();
    let place = file
        .lines()
        .zip(forged.lines())
        .take_while(|(a, b)| a == b)
        .count();
    let lines = head.lines().count();
    if place < lines {
        return match head
            .lines()
            .nth(place)
            .and_then(|line| line.split_once(' '))
        {
            Some(("extra", _)) => "extra",
            Some(("index", _)) => "index",
            Some(("old", _)) => "old size",
            Some(_) => "header",
            None if place == 0 => "header",
            None => "path",
        };
    }
    match place - lines {
        0 => "separator",
        1 => "origin",
        2 => "size",
        3 => "root",
        other if other < note.lines().count() => "signature",
        _ => "last signature",
    }
}
