//! A span with its place in its tenant's chain.

use crate::envelope::Span;
use crate::hash::Hash;
use crate::ids::{Position, Principal};
use crate::refusal::Refusal;
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
        todo!()
    }

    /// Reads what [`Sealed::to_json`] wrote; hashes are not checked.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Refusal> {
        let _ = bytes;
        todo!()
    }
}
