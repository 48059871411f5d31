//! The actors against real servers, with the projector in the same process.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail the test that uses them"
)]

mod world;

mod executing;
mod scheduling;
mod surviving;
