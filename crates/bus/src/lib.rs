//! The bus: every address, stream, consumer, header and receipt of LogLine, over NATS JetStream.
//!
//! This crate alone names the NATS client. It knows how messages travel and what the server promises;
//! it never decides whether a span is right, and it never keeps state of its own.
//!
//! Start at [`Subject`] (every address), then [`Bus`] (one connection). Who may do what is in [`access`]. Publishing is in [`Outgoing`],
//! [`Receipt`] and [`PublishService`]; the projector's side in [`Intake`] and [`TimelineEntry`];
//! readers use [`Deliveries`] and [`Tail`]; time comes from [`Timer`].

pub mod access;
pub mod subject;

mod connection;
mod error;
mod stream;

mod message;
mod publish;
mod quarantine;
mod receipt;
mod replay;
mod service;

mod intake;
mod pull;
mod stored;
mod timeline;

mod callout;
mod checkpoint;

mod consumer;
mod tail;
mod timer;

pub mod header;
pub mod metric;
pub mod trace;

pub use callout::{Admitted, Callout, issuer};
pub use checkpoint::PublishedCheckpoint;
pub use connection::{Bus, Config, Connection, Secret};
pub use consumer::{ConsumerSpec, Deliveries, Delivery};
pub use error::{AppendError, CheckpointError, Error};
pub use intake::{Acker, Intake, IntakeConfig};
pub use message::{
    Fingerprint, Incoming, IngestSeq, NotAReceiptToken, ReceiptToken, message_digest,
};
pub use publish::{Answer, Awaited, Outgoing};
pub use quarantine::{Kept, Quarantined};
pub use receipt::{NotAReceipt, Receipt};
pub use replay::ReplayService;
pub use service::PublishService;
pub use stream::{Difference, Holder, StreamState};
pub use subject::{Filter, Subject, Token};
pub use tail::{News, Start, Tail};
pub use timeline::{TimelineEntry, Told};
pub use timer::{Schedule, Timer, TimerDeliveries, TimerDelivery};
