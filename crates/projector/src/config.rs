//! What a projector is told.

use std::time::Duration;

use logline_span::Limits;

/// Every knob of a projector; `cli` fills it in.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which partition of the tenants it seals (BUS-10); 0 where there is one.
    pub shard: u32,
    /// Silence after which the bus gives a projector's place to another one (LED-13).
    pub take_over: Duration,
    /// How long the bus waits for a batch to be sealed before it delivers it again.
    pub ack_wait: Duration,
    /// Messages that may be delivered and not yet sealed and published.
    pub ack_pending_max: usize,
    /// Messages sealed in one transaction at most.
    pub batch_max: usize,
    /// Bytes of raw messages in one transaction at most, give or take one message: bounds memory.
    pub batch_bytes_max: usize,
    /// Tenants whose heads are kept in memory; others are read again when they publish.
    pub tenants_cached_max: usize,
    /// How long sealed messages stay on `INGEST` (BUS-4).
    pub ingest_keep: Duration,
    /// Bounds of a span (SPAN-2).
    pub limits: Limits,
}
