//! That a log has only grown between two heads (LED-8). The text form is what C2SP's `tlog-witness` sends to a witness:
//! a line `old <size>`, the hashes, an empty line, the later checkpoint.

use std::fmt;
use std::str::FromStr;

use crate::checkpoint::{self, SignedCheckpoint};
use crate::inclusion::{Policy, Unproven};
use crate::line::{decimal, hashes};
use crate::note::NOTE_BYTES_MAX;
use crate::tree::{NodeHash, verify_consistency};

/// Longest file, in bytes: a checkpoint, and as much again for the proof.
pub const CONSISTENCY_BYTES_MAX: usize = 2 * NOTE_BYTES_MAX;

/// How a file begins.
pub const HEADER: &str = "old ";

/// Why a text is no proof of consistency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More than [`CONSISTENCY_BYTES_MAX`].
    #[error("proof of consistency is longer than {CONSISTENCY_BYTES_MAX} bytes")]
    TooLong,
    /// No line `old` with a number from 0 to 2^63-1 in its shortest form.
    #[error("proof of consistency has no old size")]
    OldSize,
    /// A line before the empty one is no hash, or there are more than 63.
    #[error("path of the proof is not up to 63 hashes and an empty line")]
    Path,
    /// No checkpoint after the empty line.
    #[error("proof of consistency has no checkpoint")]
    Checkpoint(#[from] checkpoint::Error),
}

/// That a tree begins with all leaves of an earlier one. Nothing in it is to be believed before it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsistencyProof {
    /// The size of the earlier tree; to a witness, the one that it has cosigned last, or 0.
    pub old_size: u64,
    /// The hashes that lead from one to the other; empty if `old_size` is 0.
    pub path: Vec<NodeHash>,
    /// The later tree.
    pub checkpoint: SignedCheckpoint,
}

impl ConsistencyProof {
    /// Whether the log has only grown since `old`. Both must be the log's; of the witnesses only the later one's cosignatures
    /// matter, since they vouch for the earlier one with it.
    pub fn verify(&self, old: &SignedCheckpoint, policy: &Policy) -> Result<(), Unproven> {
        let old = Policy::log_alone(policy.log.clone()).trust(old)?.head;
        let new = policy.trust(&self.checkpoint)?.head;
        if old.size != self.old_size {
            return Err(Unproven::OtherOld {
                given: old.size,
                wanted: self.old_size,
            });
        }
        verify_consistency(&old, &new, &self.path).map_err(Unproven::Inconsistent)
    }
}

impl fmt::Display for ConsistencyProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}{}", self.old_size)?;
        for hash in &self.path {
            writeln!(f, "{hash}")?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for ConsistencyProof {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.len() > CONSISTENCY_BYTES_MAX {
            return Err(Error::TooLong);
        }
        let (old_size, rest) = text
            .strip_prefix(HEADER)
            .and_then(|rest| rest.split_once('\n'))
            .ok_or(Error::OldSize)?;
        let old_size = decimal(old_size).ok_or(Error::OldSize)?;
        let (path, checkpoint) = hashes(rest).ok_or(Error::Path)?;
        Ok(Self {
            old_size,
            path,
            checkpoint: checkpoint.parse()?,
        })
    }
}
