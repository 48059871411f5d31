//! What the signer and the witnesses left: heads, cosignatures, keys, nodes, the name of the log.

use logline_ledger::Part;
use logline_proof::{Checkpoint, NodeHash, TreeHead};
use logline_span::SigningKey;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::{COSIGNED, Done, HEADS, Stage, anchored, changed, hexed, origin, quoted, turned};
use crate::verifying::log_key;

pub(super) async fn tamper(stage: &mut Stage, rng: &mut StdRng) -> Done {
    match rng.random_range(0..5) {
        0 | 1 => checkpoint(stage, rng).await,
        2 => forged(stage, rng).await,
        3 => cosignature(stage, rng).await,
        _ => log(stage, rng).await,
    }
}

/// A stored head is changed or moved.
async fn checkpoint(stage: &mut Stage, rng: &mut StdRng) -> Done {
    let size = *HEADS.choose(rng).unwrap();
    let place = format!("tenant_id = 'acme' and size = {size}");
    let signed = stage.head(size).await;
    let head = signed.checkpoint().head;
    let (kind, position, set) = match rng.random_range(0..4) {
        0 => {
            let mut root = *head.root.as_bytes();
            root[rng.random_range(0..32)] ^= 1 << rng.random_range(0..8);
            ("head: root", size, format!("root = {}", hexed(&root)))
        }
        1 => {
            let own = stage.note(size).await;
            (
                "head: note",
                size,
                format!("note = {}", quoted(&changed(&own, rng))),
            )
        }
        2 => {
            let to = size + rng.random_range(1..7);
            ("head: size", to, format!("size = {to}"))
        }
        _ => {
            let other = *HEADS
                .iter()
                .filter(|it| **it != size)
                .collect::<Vec<_>>()
                .choose(rng)
                .unwrap();
            let note = quoted(&stage.note(*other).await);
            ("head: another's note", size, format!("note = {note}"))
        }
    };
    stage
        .sql(&format!("update ledger.checkpoint set {set} where {place}"))
        .await;
    // What was cosigned was another note, where this one was.
    let position = if kind == "head: size" && COSIGNED.contains(&size) {
        size
    } else {
        position
    };
    Done::new(kind, position, Part::Checkpoint).exactly()
}

/// A head that nobody of this log has signed, or that is of another log.
async fn forged(stage: &mut Stage, rng: &mut StdRng) -> Done {
    let size = *HEADS.choose(rng).unwrap();
    let head = stage.head(size).await.checkpoint().head;
    let root = NodeHash::from_bytes(rng.random());
    let forger = SigningKey::from_seed(&rng.random());
    let foreign = [
        "elsewhere.example/acme",
        "log.example/beta",
        "log.example/acme2",
    ]
    .choose(rng)
    .unwrap();
    let (kind, signed) = match rng.random_range(0..4) {
        0 => (
            "head: signed by another",
            Checkpoint::new(origin(), head).sign(&forger),
        ),
        1 => (
            "head: of another origin",
            Checkpoint::new(foreign.parse().unwrap(), head).sign(&log_key()),
        ),
        // Only whoever has the log's key can do this: the rows still say otherwise.
        2 => (
            "head: another root, signed by the log",
            Checkpoint::new(origin(), TreeHead { size, root }).sign(&log_key()),
        ),
        _ => (
            "head: another root, signed by another",
            Checkpoint::new(origin(), TreeHead { size, root }).sign(&forger),
        ),
    };
    let signed = signed.unwrap();
    let root = hexed(signed.checkpoint().head.root.as_bytes());
    let note = quoted(&signed.to_string());
    let sql = format!(
        "update ledger.checkpoint set root = {root}, note = {note} where tenant_id = 'acme' and size = {size}"
    );
    stage.sql(&sql).await;
    Done::new(kind, size, Part::Checkpoint).exactly()
}

async fn cosignature(stage: &mut Stage, rng: &mut StdRng) -> Done {
    let size = *COSIGNED.choose(rng).unwrap();
    let place = format!("tenant_id = 'acme' and size = {size}");
    let (kind, position, set) = match rng.random_range(0..4) {
        0 => {
            let sql = format!("select line from ledger.cosignature where {place}");
            let line: String = sqlx::query_scalar(&sql)
                .fetch_one(&mut stage.admin)
                .await
                .unwrap();
            (
                "cosignature: line",
                size,
                format!("line = {}", quoted(&changed(&line, rng))),
            )
        }
        1 => {
            let key = changed(&super::witness().to_string(), rng);
            (
                "cosignature: witness",
                size,
                format!("witness = {}", quoted(&key)),
            )
        }
        2 => {
            let to = *[8, 23, 500].choose(rng).unwrap();
            ("cosignature: size", to, format!("size = {to}"))
        }
        _ => {
            stage.sql("delete from ledger.cosignature").await;
            return Done {
                scope: anchored(stage),
                ..Done::new(
                    "cosignature: taken away, asking for the witness",
                    24,
                    Part::Checkpoint,
                )
                .exactly()
            };
        }
    };
    stage
        .sql(&format!(
            "update ledger.cosignature set {set} where {place}"
        ))
        .await;
    Done::new(kind, position, Part::Checkpoint).exactly()
}

/// The keys and the name, by which everything else is judged.
async fn log(stage: &mut Stage, rng: &mut StdRng) -> Done {
    match rng.random_range(0..3) {
        0 => {
            stage
                .sql("delete from ledger.log_key where tenant_id = 'acme'")
                .await;
            Done::new("log key: taken away", HEADS[0], Part::Checkpoint).exactly()
        }
        1 => {
            let key = quoted(&changed(&super::policy().log.to_string(), rng));
            stage
                .sql(&format!(
                    "update ledger.log_key set key = {key} where tenant_id = 'acme'"
                ))
                .await;
            Done::new("log key: changed", HEADS[0], Part::Checkpoint).exactly()
        }
        _ => {
            stage
                .sql("update ledger.log set name = 'elsewhere.example'")
                .await;
            Done::new("foreign origin", 1, Part::Link)
        }
    }
}

/// The stored node of a chain of 300 rows.
pub(super) async fn tamper_node(stage: &mut Stage, rng: &mut StdRng) -> Done {
    let sql = "select hash from ledger.node where tenant_id = 'acme'";
    let hash: Vec<u8> = sqlx::query_scalar(sql)
        .fetch_one(&mut stage.admin)
        .await
        .unwrap();
    let another = loop {
        let another = turned(&hash, rng);
        if another.len() == 32 {
            break hexed(&another);
        }
    };
    let (kind, position, sql) = match rng.random_range(0..5) {
        0 => (
            "node: hash",
            256,
            format!("update ledger.node set hash = {another}"),
        ),
        1 => (
            "node: taken away",
            256,
            "delete from ledger.node".to_owned(),
        ),
        2 => (
            "node: index",
            256,
            "update ledger.node set index = index + 1".to_owned(),
        ),
        3 => (
            "node: level",
            256,
            "update ledger.node set level = 2".to_owned(),
        ),
        _ => {
            let sql = format!(
                "insert into ledger.node (tenant_id, level, index, hash) values ('acme', 1, 1, {another})"
            );
            ("node: one more", 512, sql)
        }
    };
    stage.sql(&sql).await;
    Done::new(kind, position, Part::Checkpoint).exactly()
}

impl Stage {
    /// The note as the signer left it.
    async fn note(&mut self, size: u64) -> String {
        let sql = format!(
            "select note from ledger.checkpoint where tenant_id = 'acme' and size = {size}"
        );
        sqlx::query_scalar(&sql)
            .fetch_one(&mut self.admin)
            .await
            .unwrap()
    }
}
