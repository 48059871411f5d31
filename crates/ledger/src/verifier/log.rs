//! The heads of a tenant's log: what was signed must be what the rows lead to (LED-8, LED-9).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use futures_util::TryStreamExt as _;
use logline_proof::{
    Algorithm, Frontier, NodeHash, Note, SignatureLine, SignedCheckpoint, TreeHead, VerifierKey,
};
use logline_span::Hash;
use sqlx::postgres::PgPool;

use crate::{Error, Failure, Part, Report};

/// Rows in memory at once.
const PAGE: usize = 4096;

/// One tenant's log, and what is held against it.
pub(super) struct Log {
    pub(super) origin: String,
    pub(super) tenant: String,
    /// Checkpoints of this log that were kept outside.
    pub(super) outside: Vec<SignedCheckpoint>,
    /// Who must have cosigned.
    pub(super) witnesses: Vec<VerifierKey>,
}

/// Where a head was found.
#[derive(Clone, Copy)]
enum Kept {
    Ledger,
    Outside,
}

/// A head that the rows must lead to.
struct Wanted {
    head: TreeHead,
    kept: Kept,
}

/// Grows the tree over the stored hashes and compares it with every head and every stored node on the way.
pub(super) async fn check(pool: PgPool, log: Log) -> Result<Vec<Failure>, Error> {
    let keys = keys(&pool, &log.tenant).await?;
    let mut failures = Failures::of(&log.tenant);
    let mut outside = outside(&log, &keys, &mut failures);
    let newest = newest(&pool, &log.tenant).await?;
    let mut nodes = nodes(&pool, &log.tenant).await?;

    let mut cosigners = BTreeSet::new();
    let (mut tree, mut last) = (Frontier::new(), 0);
    loop {
        let rows = rows(&pool, &log.tenant, last).await?;
        let before = tree.head().size;
        let within = (before, before + rows.len() as u64);
        let mut wanted = VecDeque::from(stored(&pool, &log, &keys, within, &mut failures).await?);
        cosigners.extend(cosigned(&pool, &log, within, &mut failures).await?);
        for (position, hash) in &rows {
            last = *position;
            for completed in tree.append(NodeHash::of_span(hash)) {
                let place = (completed.level, completed.index);
                match nodes.remove(&place) {
                    Some(kept) if kept == completed.hash => {}
                    // Nodes are kept with the head that they lie below.
                    None if tree.head().size > newest => {}
                    Some(_) | None => failures.add(
                        tree.head().size,
                        "a stored node of the tree is not what the rows lead to",
                    ),
                }
            }
            let reached = |next: &mut Wanted| next.head.size == tree.head().size;
            while let Some(next) = wanted
                .pop_front_if(reached)
                .or_else(|| outside.pop_front_if(reached))
            {
                if next.head.root != tree.head().root {
                    failures.add(next.head.size, differs(next.kept));
                }
            }
        }
        if rows.len() < PAGE {
            break;
        }
    }
    let beyond = (tree.head().size, u64::MAX);
    cosigners.extend(cosigned(&pool, &log, beyond, &mut failures).await?);
    for witness in &log.witnesses {
        if !cosigners.contains(&witness.to_string()) {
            let detail = format!("no head is cosigned by the witness {}", witness.name());
            failures.add(newest, &detail);
        }
    }
    for missing in stored(&pool, &log, &keys, beyond, &mut failures)
        .await?
        .into_iter()
        .chain(outside)
    {
        failures.add(missing.head.size, shorter(missing.kept));
    }
    if let Some(&(level, index)) = nodes.keys().next() {
        let leaves = 256_u64.saturating_pow(level.into());
        failures.add(
            index.saturating_add(1).saturating_mul(leaves),
            "a stored node of the tree lies beyond the rows",
        );
    }
    failures.found.sort_by_key(|failure| failure.position);
    Ok(failures.found)
}

/// The heads from outside that the log has signed, the smallest first.
fn outside(log: &Log, keys: &[VerifierKey], failures: &mut Failures) -> VecDeque<Wanted> {
    let mut heads = Vec::new();
    for signed in &log.outside {
        let head = signed.checkpoint().head;
        let is_cosigned =
            |witness: &VerifierKey| signed.verify(std::slice::from_ref(witness)).is_ok();
        if !log.witnesses.iter().all(is_cosigned) {
            failures.add(
                head.size,
                "the checkpoint from outside is not cosigned by every witness",
            );
        }
        if own(signed, &log.origin, keys) {
            let kept = Kept::Outside;
            heads.push(Wanted { head, kept });
        } else {
            failures.add(
                head.size,
                "the checkpoint from outside is not signed by a key of this log",
            );
        }
    }
    heads.sort_by_key(|wanted| wanted.head.size);
    heads.into()
}

/// The next hashes with their positions. No connection is held between two pages, of which other tasks have need.
async fn rows(pool: &PgPool, tenant: &str, after: i64) -> Result<Vec<(i64, Hash)>, Error> {
    let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(
        "select position, curr_hash from ledger.span where tenant_id = $1 and position > $2 order by position limit $3",
    )
    .bind(tenant)
    .bind(after)
    .bind(i64::try_from(PAGE).unwrap_or(i64::MAX))
    .fetch_all(pool)
    .await?;
    // A hash that is none has been reported as such; whatever stands for it leads elsewhere.
    let hash = |(position, bytes): (i64, Vec<u8>)| {
        (
            position,
            Hash::from_bytes(bytes.try_into().unwrap_or_default()),
        )
    };
    Ok(rows.into_iter().map(hash).collect())
}

/// The size of the newest head; 0 where there is none.
async fn newest(pool: &PgPool, tenant: &str) -> Result<u64, Error> {
    let size: Option<i64> =
        sqlx::query_scalar("select max(size) from ledger.checkpoint where tenant_id = $1")
            .bind(tenant)
            .fetch_one(pool)
            .await?;
    Ok(u64::try_from(size.unwrap_or(0)).unwrap_or(0))
}

fn differs(kept: Kept) -> &'static str {
    match kept {
        Kept::Ledger => "the rows lead to another root than the one that was signed",
        Kept::Outside => "the rows lead to another root than the checkpoint from outside",
    }
}

fn shorter(kept: Kept) -> &'static str {
    match kept {
        Kept::Ledger => "a signed head covers rows that are missing",
        Kept::Outside => "the checkpoint from outside covers rows that are missing",
    }
}

fn own(signed: &SignedCheckpoint, origin: &str, keys: &[VerifierKey]) -> bool {
    signed.checkpoint().origin.as_str() == origin && signed.verify(keys).is_ok()
}

/// The heads that the ledger holds above one size and up to another, each signed by the log.
async fn stored(
    pool: &PgPool,
    log: &Log,
    keys: &[VerifierKey],
    (above, up_to): (u64, u64),
    failures: &mut Failures,
) -> Result<Vec<Wanted>, Error> {
    let rows: Vec<(i64, Vec<u8>, String)> = sqlx::query_as(
        "select size, root, note from ledger.checkpoint where tenant_id = $1 and size > $2 and size <= $3 order by size limit $4",
    )
    .bind(&log.tenant)
    .bind(i64::try_from(above).unwrap_or(i64::MAX))
    .bind(i64::try_from(up_to).unwrap_or(i64::MAX))
    // Among so many rows there are no more heads; beyond the rows so many say enough.
    .bind(i64::try_from(PAGE).unwrap_or(i64::MAX))
    .fetch_all(pool)
    .await?;
    let mut wanted = Vec::with_capacity(rows.len());
    for (size, root, note) in rows {
        let size = u64::try_from(size).unwrap_or_default();
        let signed = note
            .parse::<SignedCheckpoint>()
            .ok()
            .filter(|signed| own(signed, &log.origin, keys))
            .map(|signed| signed.checkpoint().head)
            .filter(|head| head.size == size && head.root.as_bytes().as_slice() == root);
        match signed {
            Some(head) => wanted.push(Wanted {
                head,
                kept: Kept::Ledger,
            }),
            None => failures.add(size, "the stored head is not one that the log has signed"),
        }
    }
    Ok(wanted)
}

/// The witnesses whose cosignatures over heads above one size and up to another verify.
async fn cosigned(
    pool: &PgPool,
    log: &Log,
    (above, up_to): (u64, u64),
    failures: &mut Failures,
) -> Result<BTreeSet<String>, Error> {
    const SQL: &str = "select w.size, w.witness, w.line, c.note from ledger.cosignature w
         left join ledger.checkpoint c on c.tenant_id = w.tenant_id and c.size = w.size
         where w.tenant_id = $1 and w.size > $2 and w.size <= $3 order by w.size, w.witness";
    let mut rows = sqlx::query_as(SQL)
        .bind(&log.tenant)
        .bind(i64::try_from(above).unwrap_or(i64::MAX))
        .bind(i64::try_from(up_to).unwrap_or(i64::MAX))
        .fetch(pool);
    let mut cosigners = BTreeSet::new();
    while let Some((size, witness, line, note)) = rows.try_next().await? {
        let (size, witness, line): (i64, String, String) = (size, witness, line);
        let note: Option<String> = note;
        if is_cosignature(note.as_deref(), &witness, &line) {
            cosigners.insert(witness);
        } else {
            failures.add(
                u64::try_from(size).unwrap_or_default(),
                "a cosignature is not its witness's over the head of that size",
            );
        }
    }
    Ok(cosigners)
}

fn is_cosignature(note: Option<&str>, witness: &str, line: &str) -> bool {
    let verify = || {
        let note: Note = note?.parse().ok()?;
        let (witness, line): (VerifierKey, SignatureLine) =
            (witness.parse().ok()?, line.parse().ok()?);
        let cosigned = Note::new(note.text().clone(), line);
        let is_witness = witness.algorithm() == Algorithm::CosignatureV1;
        Some(is_witness && cosigned.verify(&[witness]).is_ok())
    };
    verify().unwrap_or(false)
}

async fn keys(pool: &PgPool, tenant: &str) -> Result<Vec<VerifierKey>, Error> {
    let keys: Vec<String> =
        sqlx::query_scalar("select key from ledger.log_key where tenant_id = $1")
            .bind(tenant)
            .fetch_all(pool)
            .await?;
    Ok(keys.iter().filter_map(|key| key.parse().ok()).collect())
}

/// The stored nodes by level and index.
async fn nodes(pool: &PgPool, tenant: &str) -> Result<BTreeMap<(u8, u64), NodeHash>, Error> {
    let rows: Vec<(i16, i64, Vec<u8>)> =
        sqlx::query_as("select level, index, hash from ledger.node where tenant_id = $1")
            .bind(tenant)
            .fetch_all(pool)
            .await?;
    let node = |(level, index, hash): (i16, i64, Vec<u8>)| {
        let place = (u8::try_from(level).ok()?, u64::try_from(index).ok()?);
        Some((place, NodeHash::from_bytes(hash.try_into().ok()?)))
    };
    Ok(rows.into_iter().filter_map(node).collect())
}

/// What failed of one log.
struct Failures {
    tenant: String,
    found: Vec<Failure>,
}

impl Failures {
    fn of(tenant: &str) -> Self {
        Self {
            tenant: tenant.to_owned(),
            found: Vec::new(),
        }
    }

    fn add(&mut self, size: u64, detail: &str) {
        if self.found.len() < Report::FAILURES_MAX {
            self.found.push(Failure {
                tenant: self.tenant.clone(),
                position: i64::try_from(size).unwrap_or(i64::MAX),
                id: None,
                seq: None,
                part: Part::Checkpoint,
                detail: detail.to_owned(),
            });
        }
    }
}
