//! The ledger: sealed spans in Postgres, append-only, one hash chain per tenant.
//!
//! This crate alone speaks SQL and owns `migrations/`. It stores what the projector sealed, answers readers under
//! row-level security, keeps what clients inserted until it is sealed, and recomputes the chain from the stored columns.
//! It never decides what is sealed, never polls or pings: an idle process sends Postgres nothing.
//!
//! Start reading at `migrations/`, then [`Writer::commit`], [`ReaderSession::timeline`], [`Verifier::verify`].
#![warn(clippy::wildcard_enum_match_arm)]

mod access;
mod actors;
mod connection;
mod copy;
mod error;
mod identity;
mod inspect;
mod intake;
mod login;
mod migrate;
mod outbox;
mod proof;
mod query;
mod reader;
mod report;
mod row;
mod signer;
mod verifier;
mod writer;

pub use access::{
    ApiKeyEntry, Given, Holder, NewApiKey, Standing, api_keys, enter_api_key, revoke_api_key,
};
pub use actors::Actors;
pub use connection::Config;
pub use error::{CommitError, Disposition, Error, VerifyError};
pub use identity::IdentityKey;
pub use inspect::Finding;
pub use intake::{Fingerprint, StoredOutcome};
pub use login::{ClientLogin, bind_login};
pub use migrate::{MigrateError, Migrated, Provision, Role, RolePassword, migrate};
pub use outbox::{Notices, Outbox, Settled, Waiting, WaitingId};
pub use proof::Provable;
pub use query::{AsOf, Cursor, InvalidCursor, Page, Query};
pub use reader::{ChainEnd, LogState, Reader, ReaderSession, SignedHead, Verified};
pub use report::{Failure, Part, Progress, Report, Scope};
pub use signer::{Cosignature, Ends, Leaf, Signer};
pub use verifier::{Exported, Verifier};
pub use writer::{
    Batch, Existing, KeyHolder, Latest, Named, Outcome, OutcomeKind, Row, ShardState, Version,
    Wanted, Writer,
};
