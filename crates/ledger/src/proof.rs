//! Proofs for readers (LED-10): a signed head, and the hashes between it and one row.

use logline_proof::tree::verify_inclusion;
use logline_proof::{InclusionProof, NodeHash, Plan, SignedCheckpoint, Tile};
use logline_span::chain::chain_body;
use logline_span::{Hash, Position, TenantId};
use sqlx::postgres::PgRow;
use sqlx::{Postgres, Row as _, Transaction};

use crate::Error;
use crate::row::Stored;

/// What can be proved of a span that the reader may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provable {
    /// That it is in the log.
    Proof(Box<InclusionProof>),
    /// Nothing yet: no signed head covers it, which takes a second after sealing.
    NotYet,
}

/// Proves one row to whoever may read it, in the transaction that has proved who that is.
pub(crate) async fn prove(
    transaction: &mut Transaction<'_, Postgres>,
    stored: &Stored,
) -> Result<Provable, Error> {
    let (tenant, position) = (&stored.sealed.span.tenant_id, stored.sealed.position);
    let undecodable = |column| Error::Undecodable {
        tenant: tenant.to_string(),
        position: bind(position),
        column,
    };
    let note: Option<String> = sqlx::query_scalar("select note from ledger.proof_head($1, $2)")
        .bind(tenant.as_str())
        .bind(bind(position))
        .fetch_optional(&mut **transaction)
        .await?;
    let Some(note) = note else {
        return Ok(Provable::NotYet);
    };
    let checkpoint: SignedCheckpoint = note.parse().map_err(|_| undecodable("note"))?;
    let (head, index) = (checkpoint.checkpoint().head, position.get() - 1);
    let plan = Plan::inclusion(index, head.size).ok_or_else(|| undecodable("note"))?;
    let tiles = tiles(transaction, tenant, position, &plan).await?;
    let path = plan.compute(&tiles).map_err(|_| undecodable("hash"))?;
    // What does not lead to the signed root proves nothing, and is the ledger's fault, not the reader's.
    let leaf = NodeHash::of_span(&stored.sealed.curr_hash);
    verify_inclusion(&head, index, &leaf, &path).map_err(|_| undecodable("hash"))?;
    Ok(Provable::Proof(Box::new(InclusionProof {
        extra: Some(chain_body(&stored.sealed, &stored.content_hash).to_vec()),
        index,
        path,
        checkpoint,
    })))
}

async fn tiles(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &TenantId,
    position: Position,
    plan: &Plan,
) -> Result<Vec<Vec<NodeHash>>, Error> {
    const SQL: &str = "select tile, hash from ledger.proof_tiles($1, $2, $3, $4, $5)";
    let wanted = Wanted::of(plan.tiles());
    let rows = sqlx::query(SQL)
        .bind(tenant.as_str())
        .bind(bind(position))
        .bind(&wanted.levels)
        .bind(&wanted.firsts)
        .bind(&wanted.widths)
        .fetch_all(&mut **transaction)
        .await?;
    arranged(&rows, plan.tiles(), of_row)
}

/// The node that a stored hash stands for: at level 0 the rows' own are stored, from which the leaves are made.
pub(crate) fn of_row(level: u8, hash: NodeHash) -> NodeHash {
    match level {
        0 => NodeHash::of_span(&Hash::from_bytes(*hash.as_bytes())),
        _ => hash,
    }
}

/// Tiles as the parameters of the functions that hand out hashes.
pub(crate) struct Wanted {
    pub(crate) levels: Vec<i32>,
    pub(crate) firsts: Vec<i64>,
    pub(crate) widths: Vec<i32>,
}

impl Wanted {
    pub(crate) fn of(tiles: &[Tile]) -> Self {
        let first = |tile: &Tile| i64::try_from(tile.first()).unwrap_or(i64::MAX);
        Self {
            levels: tiles.iter().map(|tile| i32::from(tile.level())).collect(),
            firsts: tiles.iter().map(first).collect(),
            widths: tiles.iter().map(|tile| i32::from(tile.width())).collect(),
        }
    }
}

/// Puts rows of a tile's number and a hash under the tiles that were asked for.
pub(crate) fn arranged(
    rows: &[PgRow],
    wanted: &[Tile],
    node: impl Fn(u8, NodeHash) -> NodeHash,
) -> Result<Vec<Vec<NodeHash>>, Error> {
    let mut tiles = vec![Vec::new(); wanted.len()];
    for row in rows {
        let place = row.try_get::<i32, _>("tile")?.saturating_sub(1);
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        let (Some(tile), Some(hashes)) = (wanted.get(place), tiles.get_mut(place)) else {
            continue;
        };
        let hash = node_hash(row.try_get("hash")?).ok_or_else(|| Error::Undecodable {
            tenant: String::new(),
            position: 0,
            column: "hash",
        })?;
        hashes.push(node(tile.level(), hash));
    }
    Ok(tiles)
}

pub(crate) fn node_hash(bytes: &[u8]) -> Option<NodeHash> {
    bytes.try_into().ok().map(NodeHash::from_bytes)
}

fn bind(position: Position) -> i64 {
    i64::try_from(position.get()).unwrap_or(i64::MAX)
}
