//! The projector: gives every span that arrives on the bus its place in its tenant's chain.
//!
//! It reads `INGEST` in order, decides what becomes of each message, commits a batch in one transaction, publishes
//! the sealed spans on `TIMELINE`, answers the publishers, and acknowledges (LED-11). Killed at any point, it comes
//! back with every message sealed once, in one place (LED-12); one projector at a time seals (LED-13).
//!
//! It never reads a clock to decide, never drops a message, and never lets one stop the others (LED-7, LED-14, LED-16).
//!
//! Start at [`Projector`] (who seals, and what follows a failure), then the stages; `decide` is the pure core.

#![warn(clippy::wildcard_enum_match_arm)]

mod config;
mod health;
mod leader;

mod stage;
mod step;

mod batch;
mod decide;
mod heads;
mod incident;
mod message;
mod overlay;
mod parting;

mod recovery;

mod purge;
mod retry;
mod trace;

pub mod metric;

pub use config::Config;
pub use health::Health;
pub use leader::Projector;
pub use recovery::{Progress, RepublishError, Republished, RestoreError, republish, restore};
pub use step::{OnStep, Step};
