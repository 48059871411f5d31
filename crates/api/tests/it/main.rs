//! The API against a real bus, a real ledger and a projector in this process.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test that uses them"
)]

mod client;
mod world;

mod access;
mod away;
mod bad_input;
mod browser;
mod following;
mod log;
mod matrix;
mod publishing;
mod reading;
mod relaying;
mod standing;
mod tiles;
mod verifying;
