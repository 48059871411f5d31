//! Untrusted code, run inside wasmtime (BOX-1 to BOX-3; of BOX-4 what needs neither ledger nor bus).
//!
//! A [`Sandbox`] takes JavaScript and JSON and gives back JSON, or the reason why there is none.
//! Every run has an instance of its own, started from one snapshot of the engine; it ends with the run.
//! The crate never publishes, stores or signs anything, and gives the code no clock, randomness, file or network:
//! time and seed are arguments of the [`Run`], so that the same run has the same outcome.
//!
//! Start reading at [`Sandbox::run`]; `engine/` holds the JavaScript engine and the recipe that builds it.

mod run;
mod sandbox;

mod engine;
mod instance;

mod cache;
mod deadline;
mod delta;

pub use run::{Failure, FailureCode, Language, Limits, Outcome, Run};
pub use sandbox::{Config, Error, Sandbox};
