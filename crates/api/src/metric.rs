//! Names of the metrics that this crate counts.

/// Requests answered; labels `route`, `method`, `status`.
pub const REQUESTS: &str = "logline_api_requests_total";
/// From the request's head to the answer's head, in milliseconds; label `route`.
pub const REQUEST_MS: &str = "logline_api_request_ms";
/// Spans refused before they reached the bus; label `reason`.
pub const SPANS_REFUSED: &str = "logline_api_spans_refused_total";
/// Refused bytes that could not be put into quarantine: the bus was away or full.
pub const QUARANTINE_FAILED: &str = "logline_api_quarantine_failed_total";
/// Streams that are open.
pub const STREAMS: &str = "logline_api_streams";
/// Streams that ended; label `reason`.
pub const STREAMS_ENDED: &str = "logline_api_streams_ended_total";
/// Connections closed at once: their address had as many as it may.
pub const CONNECTIONS_REFUSED: &str = "logline_api_connections_refused_total";
/// Connections that are open.
pub const CONNECTIONS: &str = "logline_api_connections";
/// Rows of the outbox that are sealed.
pub const RELAYED: &str = "logline_relay_sealed_total";
/// Rows of the outbox that were refused.
pub const RELAY_REFUSED: &str = "logline_relay_refused_total";
/// Attempts of the relay that failed because the bus or the ledger was away.
pub const RELAY_FAILURES: &str = "logline_relay_failures_total";
