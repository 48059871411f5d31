//! Who holds a token (API-2): bearer tokens of identity providers and of our own, and API keys.
//!
//! The HTTP API and what answers for clients of the bus ask here, so that a token means the same on every path. A token is
//! believed for the tenants that its issuer's key is bound to, and for no principal of the system. This crate alone names
//! JSON Web Tokens. It never says what a holder may do: that is row-level security's, the bus's and the law's.
//!
//! Start at [`Verifier::verify`], then `token.rs` (what a token must say), `issuer.rs` (whose keys), `api_key.rs`.

mod access;
mod config;
mod verifier;

mod algorithm;
mod api_key;
mod issuer;
mod mint;
mod token;

pub use access::{Access, Refused};
pub use api_key::ApiKey;
pub use config::{Config, ConfigError, FixedKey, Issuer, RoleTrust, Source, Tenants};
pub use mint::{Grant, MintError, Minter};
pub use token::{Shown, show};
pub use verifier::Verifier;
