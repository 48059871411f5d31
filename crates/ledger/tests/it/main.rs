//! The ledger against a real Postgres.

mod append_only;
mod identity;
mod lookups;
mod migration;
mod reading;
mod support;
mod verifying;
mod writing;
