//! The span: one immutable, signed fact, and everything that can be said about it without asking anybody.
//!
//! What it is: the envelope, its canonical bytes (RFC 8785), content hash and signature, the function that
//! chains sealed spans, the rules by which a span or a version of one is refused, and the list of all
//! machine-readable codes of the product.
//!
//! What it never does: read a clock, draw a random number, touch a file or a socket, wait.
//! Time, ids and keys are arguments; the same arguments give the same bytes on every machine.
//!
//! Start reading at [`draft`] (what a client sent), then [`envelope`] (what is hashed), [`chain`] (what is sealed).
#![warn(clippy::wildcard_enum_match_arm)]

pub mod refusal;

pub mod hash;
pub mod ids;
pub mod time;

pub mod json;

pub mod draft;
pub mod envelope;
mod fields;
pub mod signature;

pub mod chain;
pub mod sealed;
pub mod version;

pub mod check;
pub mod reserved;
pub mod visibility;

pub use chain::Head;
pub use draft::{Arrival, Draft, Encoding, Limits};
pub use envelope::Span;
pub use hash::Hash;
pub use ids::{
    EntityType, Position, Principal, RoleName, Seq, SpanId, Status, TenantId, TraceId, Visibility,
};
pub use json::Json;
pub use refusal::{Code, Refusal};
pub use sealed::Sealed;
pub use signature::{PublicKey, Signature, SigningKey};
pub use time::Timestamp;
pub use visibility::Reader;
