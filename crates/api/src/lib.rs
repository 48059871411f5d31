//! The doors of clients: HTTP, as the identity that a bearer token stands for, and the relay of what SQL clients insert.
//!
//! This crate alone names axum. It checks what comes in as far as that needs no ledger, hands it to the bus, and reads
//! the ledger under row-level security. It never writes to the registry, never decides what is sealed, and trusts nothing
//! that a body says about who sent it. What it does for HTTP, `logline_bus::PublishService` does for requests on the bus.
//!
//! Start at [`Api::bind`], then `route.rs` (every call), `access.rs` (what happens to every request), `publish.rs`;
//! the relay is [`Relay::run`].

mod config;
mod server;

mod connection;
mod cors;

mod access;
mod identity;
mod parameters;
mod problem;
mod rate;
mod route;
mod share;

mod log;
mod operations;
mod publish;
mod receipt;
mod signed;
mod standing;
mod stream;
mod tiles;
mod timeline;

mod relay;

pub mod metric;

pub use config::{Check, Config, Error, Rate};
pub use relay::{OnStep, Relay, RelayConfig, RelayHealth, RelayResources, RelayStep};
pub use server::{Api, Bound, Resources};
