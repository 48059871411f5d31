//! The signer: signs the head of each tenant's tree within a second of a seal (LED-8).
//!
//! It reads hashes from the ledger, publishes the signed head on `CHECKPOINTS` and then stores it. It only ever extends
//! the last head that it finds, on the bus or in the ledger, whichever is larger: a ledger whose rows do not lead to that
//! head, or end before it, is not signed any more, and an incident says so.
//!
//! It never seals, never changes a row, and sees no span: neither a compromised projector nor a restored backup can
//! fork the log unnoticed, because the key is in nobody else's hands.
//!
//! Start at [`Signer`] (whom it signs, and when), then `log.rs` (how one tenant's log is extended).
#![warn(clippy::wildcard_enum_match_arm)]

mod part;

mod log;
mod trouble;

mod incident;

pub mod metric;

pub use part::{Config, Health, Signer};
pub use trouble::Fault;
