//! Tokens of strangers, without a server: what is believed, and what is not however it is dressed up.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test that uses them"
)]

mod forge;

mod believing;
mod key_sets;
mod refusing;
