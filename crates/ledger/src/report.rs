//! What verification found, in the form that programs read (LED-9).

use std::collections::BTreeMap;

use logline_proof::{SignedCheckpoint, VerifierKey};
use logline_span::{Position, Seq, SpanId, TenantId};
use serde::Serialize;

/// What to verify.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Only these tenants; all where empty.
    pub tenants: Vec<TenantId>,
    /// Only from this position on; the row before it is believed.
    pub from: Option<Position>,
    /// Checkpoints that were kept outside, which the rows must lead to.
    pub against: Vec<SignedCheckpoint>,
    /// Witnesses whose word is asked for: each must have cosigned a head of every log, and every checkpoint of `against`.
    pub witnesses: Vec<VerifierKey>,
}

impl Scope {
    /// Whether the logs are held against anything that this ledger does not hold itself.
    #[must_use]
    pub fn is_anchored(&self) -> bool {
        !self.against.is_empty() || !self.witnesses.is_empty()
    }
}

/// How far a verification is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Rows recomputed.
    pub checked: u64,
    /// The tenant, in the order of names, and the position before which every row is recomputed: a later run may go on there. None where
    /// only the heads are left.
    pub next: Option<(&'a str, i64)>,
}

/// The outcome of a verification.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether nothing failed.
    pub ok: bool,
    /// Whether checkpoints kept outside were given, or witnesses named, and all of it holds.
    pub anchored: bool,
    /// Chains recomputed.
    pub tenants: u64,
    /// Rows recomputed.
    pub checked: u64,
    /// The last position of each chain, from which a later run may go on.
    #[serde(skip)]
    pub through: BTreeMap<TenantId, Position>,
    /// What failed, in the order of tenant and position; at most [`Report::FAILURES_MAX`].
    pub failures: Vec<Failure>,
}

impl Report {
    /// Failures named at most: a chain broken throughout needs no list as long as itself.
    pub const FAILURES_MAX: usize = 1000;
}

/// One row that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Whose chain.
    pub tenant: String,
    /// Its place in the chain.
    pub position: i64,
    /// Its id, where there is a row.
    pub id: Option<SpanId>,
    /// Its version, where there is a row.
    pub seq: Option<Seq>,
    /// Which part of it.
    pub part: Part,
    /// What exactly, without content of the span.
    pub detail: String,
}

/// A part of a row that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// A value of the row is not the one that was hashed, or cannot be decoded.
    Content,
    /// The row's hash or its predecessor's is not the one in the chain.
    Link,
    /// A row is missing, or lies where none belongs.
    Gap,
    /// The author's signature does not fit the content.
    Signature,
    /// A checkpoint does not fit the chain.
    Checkpoint,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Content => "content",
            Self::Link => "link",
            Self::Gap => "gap",
            Self::Signature => "signature",
            Self::Checkpoint => "checkpoint",
        })
    }
}
