//! C2SP's `tlog-proof`: that one span is in a log, as a file that verifies anywhere without a network (LED-10).

use std::fmt;
use std::str::FromStr;

use logline_span::Hash;
use logline_span::chain::{BODY_BYTES, Link};

use crate::checkpoint::{self, Checkpoint, SignedCheckpoint};
use crate::line;
use crate::note::{NOTE_BYTES_MAX, Untrusted, VerifierKey};
use crate::tree::{Invalid, NodeHash, verify_inclusion};

const HEADER: &str = "c2sp.org/tlog-proof@v1\n";

/// Longest file, in bytes: a checkpoint, and as much again for the rest.
pub const PROOF_BYTES_MAX: usize = 2 * NOTE_BYTES_MAX;

/// Why a text is no `tlog-proof`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More than [`PROOF_BYTES_MAX`].
    #[error("proof is longer than {PROOF_BYTES_MAX} bytes")]
    TooLong,
    /// The first line is another.
    #[error("proof does not begin with c2sp.org/tlog-proof@v1")]
    Header,
    /// The second line says `extra` without base64.
    #[error("extra data of the proof is not base64")]
    Extra,
    /// No line `index` with a number from 0 to 2^63-1 in its shortest form.
    #[error("proof has no index")]
    Index,
    /// A line before the empty one is no hash, or there are more than 63.
    #[error("path of the proof is not up to 63 hashes and an empty line")]
    Path,
    /// No checkpoint after the empty line.
    #[error("proof has no checkpoint")]
    Checkpoint(#[from] checkpoint::Error),
}

/// Why a proof proves nothing to this verifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// The checkpoint is not signed as the policy asks.
    #[error("checkpoint is not to be trusted")]
    Untrusted(#[from] Untrusted),
    /// The log's key has not signed it, though others have.
    #[error("checkpoint is not signed by its log")]
    NotOfLog,
    /// The log's key has signed it as another log's.
    #[error("checkpoint is of another log")]
    Origin,
    /// Too few witnesses have cosigned it.
    #[error("{seen} of {wanted} witnesses have cosigned the checkpoint")]
    Witnesses {
        /// How many have.
        seen: usize,
        /// How many the policy asks for.
        wanted: usize,
    },
    /// The leaf is not where the proof says.
    #[error("span is not in the log")]
    NotIncluded(#[from] Invalid),
    /// The proof is from an earlier head of another size.
    #[error("proof is from size {wanted}, and the earlier checkpoint is of size {given}")]
    OtherOld {
        /// The size of the checkpoint that was given.
        given: u64,
        /// The size that the proof begins with.
        wanted: u64,
    },
    /// The later tree does not begin with the earlier one.
    #[error("log has not only grown between the two checkpoints")]
    Inconsistent(#[source] Invalid),
    /// The extra data is not the body of a link of the chain.
    #[error("extra data of the proof is not the body of a link")]
    NoBody,
    /// The body is of another place than the leaf.
    #[error("body of the link has another position than the leaf")]
    Position,
}

/// Whom to believe.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The log's key; its name is the log's origin.
    pub log: VerifierKey,
    /// Those who watch that the log only grows.
    pub witnesses: Vec<VerifierKey>,
    /// How many of them must have cosigned.
    pub threshold: usize,
}

impl Policy {
    /// Believes the log alone.
    pub const fn log_alone(log: VerifierKey) -> Self {
        Self {
            log,
            witnesses: Vec::new(),
            threshold: 0,
        }
    }

    /// The checkpoint, if the log has signed it and enough witnesses have cosigned it. Names with one key between
    /// them count as one witness.
    pub fn trust<'c>(&self, signed: &'c SignedCheckpoint) -> Result<&'c Checkpoint, Unproven> {
        let mut keys = vec![self.log.clone()];
        keys.extend_from_slice(&self.witnesses);
        let verified = signed.verify(&keys)?;
        if !verified.iter().any(|verified| *verified.key == self.log) {
            return Err(Unproven::NotOfLog);
        }
        if signed.checkpoint().origin.as_str() != self.log.name().as_str() {
            return Err(Unproven::Origin);
        }
        let mut witnesses: Vec<_> = verified
            .iter()
            .filter(|verified| *verified.key != self.log)
            .map(|verified| verified.key.public_key())
            .collect();
        witnesses.sort_unstable();
        witnesses.dedup();
        if witnesses.len() < self.threshold {
            return Err(Unproven::Witnesses {
                seen: witnesses.len(),
                wanted: self.threshold,
            });
        }
        Ok(signed.checkpoint())
    }
}

/// That a leaf is in a log: the file, parsed. Nothing in it is to be believed before it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InclusionProof {
    /// What the log does not sign; in ours the body of the link (LED-6), whose hash is the leaf.
    pub extra: Option<Vec<u8>>,
    /// Which leaf it is, counted from 0.
    pub index: u64,
    /// The hashes beside the way from the leaf to the root.
    pub path: Vec<NodeHash>,
    /// The tree.
    pub checkpoint: SignedCheckpoint,
}

impl InclusionProof {
    /// Whether the span with this `curr_hash` is in the log.
    pub fn verify(&self, curr_hash: &Hash, policy: &Policy) -> Result<(), Unproven> {
        let checkpoint = policy.trust(&self.checkpoint)?;
        let leaf = NodeHash::of_span(curr_hash);
        verify_inclusion(&checkpoint.head, self.index, &leaf, &self.path)?;
        Ok(())
    }

    /// What the log holds at this place: the proof covers the body in its extra data, and that the content hash.
    pub fn verify_link(&self, policy: &Policy) -> Result<Link, Unproven> {
        let body = self.extra.as_deref().ok_or(Unproven::NoBody)?;
        let body: &[u8; BODY_BYTES] = body.try_into().map_err(|_| Unproven::NoBody)?;
        let link = Link::read(body).ok_or(Unproven::NoBody)?;
        if link.position.get() - 1 != self.index {
            return Err(Unproven::Position);
        }
        self.verify(&link.curr_hash, policy)?;
        Ok(link)
    }
}

impl fmt::Display for InclusionProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEADER)?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", line::encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        for hash in &self.path {
            writeln!(f, "{hash}")?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for InclusionProof {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.len() > PROOF_BYTES_MAX {
            return Err(Error::TooLong);
        }
        let rest = text.strip_prefix(HEADER).ok_or(Error::Header)?;
        let (extra, rest) = match rest.strip_prefix("extra ") {
            Some(rest) => {
                let (extra, rest) = rest.split_once('\n').ok_or(Error::Extra)?;
                (Some(line::decode(extra).ok_or(Error::Extra)?), rest)
            }
            None => (None, rest),
        };
        let (index, rest) = rest
            .strip_prefix("index ")
            .and_then(|rest| rest.split_once('\n'))
            .ok_or(Error::Index)?;
        let index = line::decimal(index).ok_or(Error::Index)?;
        let (path, checkpoint) = line::hashes(rest).ok_or(Error::Path)?;
        Ok(Self {
            extra,
            index,
            path,
            checkpoint: checkpoint.parse()?,
        })
    }
}
