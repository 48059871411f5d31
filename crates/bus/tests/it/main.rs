//! The bus against a real nats-server, with the settings of a single machine.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test that uses them"
)]

mod access;
mod callout;
mod consumers;
mod deploy;
mod idle;
mod intake;
mod matrix;
mod poison;
mod publishing;
mod replay;
mod service;
mod streams;
mod support;
mod tails;
mod timeline;
mod timers;
