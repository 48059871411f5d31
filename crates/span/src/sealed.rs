//! A span with its place in its tenant's chain.

use crate::draft::read::{self, Ledger, LedgerFields};
use crate::draft::{Draft, Encoding, Limits};
use crate::envelope::Span;
use crate::fields::{Fields, Proof};
use crate::hash::Hash;
use crate::ids::{Position, Principal};
use crate::refusal::{Code, Refusal};
use crate::time::Timestamp;

/// A sealed span: what the ledger stores and the timeline carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// What the author said.
    pub span: Span,
    /// Its place in the tenant's chain.
    pub position: Position,
    /// When the bus took it, strictly rising along the chain.
    pub received_at: Timestamp,
    /// The principal of the address that it was published to.
    pub published_by: Principal,
    /// `curr_hash` of the predecessor.
    pub prev_hash: Hash,
    /// The chain's hash up to here (LED-6).
    pub curr_hash: Hash,
}

impl Sealed {
    /// All fields as one JSON object in canonical key order.
    pub fn to_json(&self) -> String {
        let proof = Proof {
            curr_hash: Some(self.curr_hash),
            position: Some(self.position),
            prev_hash: Some(self.prev_hash),
            public_key: self.span.public_key,
            published_by: Some(&self.published_by),
            received_at: Some(self.received_at),
            signature: self.span.signature,
        };
        Fields::of_span(&self.span).with_proof(proof).to_json()
    }

    /// Reads what [`Sealed::to_json`] wrote. Every field must be there; whether the hashes hold is another question.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Refusal> {
        let (draft, ledger) =
            read::read(bytes, Encoding::Json, Limits::DEPTH_CEILING, Ledger::Read)?;
        Self::from_parts(draft, ledger)
    }

    pub(crate) fn from_parts(draft: Draft, ledger: LedgerFields) -> Result<Self, Refusal> {
        Ok(Self {
            span: draft.into_span()?,
            position: present(ledger.position, "/position")?,
            received_at: present(ledger.received_at, "/received_at")?,
            published_by: present(ledger.published_by, "/published_by")?,
            prev_hash: present(ledger.prev_hash, "/prev_hash")?,
            curr_hash: present(ledger.curr_hash, "/curr_hash")?,
        })
    }
}

fn present<T>(field: Option<T>, pointer: &'static str) -> Result<T, Refusal> {
    field
        .ok_or_else(|| Refusal::new(Code::MissingField, "a sealed span has this field").at(pointer))
}
