//! The ledger against a real Postgres.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail the test that uses them"
)]
#![expect(
    clippy::too_many_lines,
    reason = "a scenario is read from its beginning to its end"
)]

mod append_only;
mod identity;
mod lookups;
mod migration;
mod reading;
mod sending;
mod standing;
mod support;
mod verifying;
mod writing;
