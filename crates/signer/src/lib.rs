//! The signer: signs the head of the tree over each tenant's chain, within a second of sealing (LED-8).
//!
//! It hears on the timeline whose chains grow, recomputes the tree from the rows' own hashes, publishes the signed head after
//! the one that it knows, and keeps it in the ledger with what proofs are made of. Each step may be the last one before a
//! crash, and may be repeated.
//!
//! It never signs what does not extend all that was signed before, never reads what a span says, and never stops for one
//! tenant because of another (LED-16). An idle one asks nothing.
//!
//! Start at [`Signer`] (whose turn it is), then `log` (one tenant's log), `tree` (its pure part), `witness` (who else signs).

mod config;
mod health;
mod signer;

mod agenda;
mod incident;
mod log;
mod refusal;
mod tree;

mod board;
mod witness;

pub mod metric;

pub use config::{Config, Resources};
pub use health::Health;
pub use signer::Signer;
pub use witness::Witness;
