//! The log as other people's tools can verify it (LED-8, LED-10).
//!
//! What it is: RFC 6962 trees over a tenant's chain, and the text formats of C2SP around them: signed notes,
//! checkpoints, `tlog-proof` files, tiles, what is said to a witness. Each is parsed, printed, signed and verified.
//!
//! What it never does: read a file, a socket, a clock or a random number. What it must know of a stored tree it
//! first names as tiles ([`plan`]), and whoever holds them hands them in.
//!
//! Start reading at [`tree`], then [`note`] and [`inclusion`], which puts both together.
#![warn(clippy::wildcard_enum_match_arm)]

pub mod tree;

pub mod plan;
pub mod tile;

pub mod checkpoint;
pub mod note;

pub mod audit;
pub mod consistency;
pub mod inclusion;
pub mod witness;

mod line;

pub use checkpoint::{Checkpoint, Origin, SignedCheckpoint};
pub use consistency::ConsistencyProof;
pub use inclusion::{InclusionProof, Policy};
pub use note::{Algorithm, KeyName, Note, SignatureLine, VerifierKey};
pub use plan::Plan;
pub use tile::{EntryBundle, Tile};
pub use tree::{Frontier, NodeHash, TreeHead};
