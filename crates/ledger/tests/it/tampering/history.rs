//! Rows that are dropped, swapped, inserted or replaced, a chain that is cut off, and one that is written anew.

use std::collections::BTreeMap;

use logline_ledger::{Part, Scope};
use logline_proof::{Checkpoint, Frontier, NodeHash, TreeHead, VerifierKey};
use logline_span::{Head, SigningKey};
use rand::Rng as _;
use rand::rngs::StdRng;

use super::{COSIGNED, Done, HEADS, ROWS, Stage, at_least, hexed, origin, policy, quoted};
use crate::support::LOG;

const LAST: u64 = ROWS as u64;

pub(super) async fn tamper(stage: &mut Stage, rng: &mut StdRng) -> Done {
    let row = rng.random_range(1..=LAST);
    match rng.random_range(0..8) {
        0 => dropped(stage, rng).await,
        1 => swapped(stage, rng).await,
        2 => inserted(stage, rng).await,
        3 => {
            let sql =
                format!("delete from ledger.span where tenant_id = 'acme' and position >= {row}");
            stage.sql(&sql).await;
            Done::new("cut tail", at_least(&HEADS, row), Part::Checkpoint).exactly()
        }
        4 => replaced(stage, row).await,
        _ => rewritten(stage, row, rng).await,
    }
}

async fn dropped(stage: &mut Stage, rng: &mut StdRng) -> Done {
    let first = rng.random_range(1..LAST);
    let last = rng.random_range(first..LAST);
    let sql = format!(
        "delete from ledger.span where tenant_id = 'acme' and position between {first} and {last}"
    );
    stage.sql(&sql).await;
    Done::new("dropped rows", first, Part::Gap).exactly()
}

async fn swapped(stage: &mut Stage, rng: &mut StdRng) -> Done {
    let first = rng.random_range(1..LAST);
    let second = rng.random_range(first + 1..=LAST);
    let moved = |from: u64, to: u64| {
        format!(
            "update ledger.span set position = {to} where tenant_id = 'acme' and position = {from};"
        )
    };
    let sql = [
        moved(first, 1000),
        moved(second, first),
        moved(1000, second),
    ]
    .concat();
    stage.sql(&sql).await;
    Done::new("swapped rows", first, Part::Link)
}

/// A row more, made of another, in the middle or at the end.
async fn inserted(stage: &mut Stage, rng: &mut StdRng) -> Done {
    let (source, place) = (rng.random_range(1..=LAST), rng.random_range(1..=LAST + 1));
    let sql = format!(
        "delete from public.scratch;
         insert into public.scratch select * from ledger.span where tenant_id = 'acme' and position = {source};
         update public.scratch set id = gen_random_uuid(), idempotency_key = null, position = {place};
         update ledger.span set position = position + 1000 where tenant_id = 'acme' and position >= {place};
         update ledger.span set position = position - 999 where tenant_id = 'acme' and position > 1000;
         insert into ledger.span select * from public.scratch"
    );
    stage.sql(&sql).await;
    Done::new("inserted row", place, Part::Content)
}

/// Another tenant's row in place of the own one.
async fn replaced(stage: &mut Stage, row: u64) -> Done {
    let sql = format!(
        "delete from public.scratch;
         insert into public.scratch select * from ledger.span where tenant_id = 'beta' and position = {row};
         update public.scratch set tenant_id = 'acme';
         delete from ledger.span where tenant_id = 'acme' and position = {row};
         insert into ledger.span select * from public.scratch"
    );
    stage.sql(&sql).await;
    Done::new("replaced row", row, Part::Content)
}

/// A chain that is consistent in itself from a changed row on; the forger may sign heads with a key of their own, name that key as the
/// log's, and take away what witnesses signed.
async fn rewritten(stage: &mut Stage, row: u64, rng: &mut StdRng) -> Done {
    let heads = rewrite(stage, row).await;
    let forger = SigningKey::from_seed(&rng.random());
    let way = rng.random_range(0..5);
    if way > 0 {
        for (size, head) in &heads {
            let signed = Checkpoint::new(origin(), *head).sign(&forger).unwrap();
            let (root, note) = (hexed(head.root.as_bytes()), quoted(&signed.to_string()));
            let sql = format!(
                "update ledger.checkpoint set root = {root}, note = {note} where tenant_id = 'acme' and size = {size}"
            );
            stage.sql(&sql).await;
        }
    }
    if way > 1 {
        let name = policy().log.name().clone();
        let key = VerifierKey::new(name, logline_proof::Algorithm::Ed25519, forger.public_key());
        stage
            .sql(&format!(
                "insert into ledger.log_key (tenant_id, key) values ('acme', '{key}')"
            ))
            .await;
    }
    if way > 2 {
        stage.sql("delete from ledger.cosignature").await;
    }
    let (kind, position) = match way {
        0 => ("rewritten chain", at_least(&HEADS, row)),
        1 => ("rewritten chain, forged heads", at_least(&HEADS, row)),
        2 => (
            "rewritten chain, forged heads and key",
            at_least(&COSIGNED, row),
        ),
        3 => ("the same without cosignatures, against a checkpoint", LAST),
        _ => ("the same without cosignatures, asking for a witness", LAST),
    };
    let acme = vec!["acme".parse().unwrap()];
    let scope = match way {
        3 => Scope {
            tenants: acme,
            against: vec![stage.kept.clone()],
            ..Scope::default()
        },
        4 => Scope {
            tenants: acme,
            witnesses: vec![super::witness()],
            ..Scope::default()
        },
        _ => Scope::default(),
    };
    Done {
        scope,
        ..Done::new(kind, position, Part::Checkpoint).exactly()
    }
}

/// Writes the chain anew from a row on; gives the heads that it then has, from there on.
async fn rewrite(stage: &mut Stage, row: u64) -> BTreeMap<u64, TreeHead> {
    let mut chain = Head::genesis(&format!("{LOG}/acme"));
    let (mut tree, mut heads) = (Frontier::new(), BTreeMap::new());
    let mut statements = String::new();
    for sealed in stage.rows.clone() {
        let position = sealed.position.get();
        let mut span = sealed.span.clone();
        if position == row {
            span.who = "mallory".to_owned();
            (span.signature, span.public_key) = (None, None);
        }
        let content = span.content_hash();
        let anew = chain.seal(
            span,
            content,
            sealed.published_by.clone(),
            sealed.received_at,
        );
        tree.append(NodeHash::of_span(&anew.curr_hash));
        if position < row {
            continue;
        }
        let who = quoted(&anew.span.who);
        let [content, before, after] =
            [content, anew.prev_hash, anew.curr_hash].map(|hash| hexed(hash.as_bytes()));
        let unsigned = if position == row {
            ", signature = null, public_key = null"
        } else {
            ""
        };
        statements += &format!(
            "update ledger.span set who = {who}, content_hash = {content}, prev_hash = {before}, curr_hash = {after}{unsigned}
             where tenant_id = 'acme' and position = {position};"
        );
        if HEADS.contains(&position) {
            heads.insert(position, tree.head());
        }
    }
    stage.sql(&statements).await;
    heads
}
