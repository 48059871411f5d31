//! The ledger against a real Postgres.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test that uses them"
)]
#![expect(
    clippy::too_many_lines,
    reason = "a scenario is read from its beginning to its end"
)]

mod append_only;
mod identity;
mod logins;
mod lookups;
mod migration;
mod reading;
mod sending;
mod standing;
mod support;
mod tampering;
mod verifying;
mod writing;
