//! Names of the metrics that this crate counts.

/// Consumers made again because they were silent, gone or out of step; label `consumer`.
pub const CONSUMER_REBUILDS: &str = "logline_bus_consumer_rebuilds_total";
/// Times that a consumer missed its heartbeats; label `consumer`.
pub const CONSUMER_STALLS: &str = "logline_bus_consumer_stalls_total";
/// Times that this process gained the pin of an exclusive consumer; label `consumer`.
pub const PINS_GAINED: &str = "logline_bus_pins_gained_total";
/// Times that this process lost the pin of an exclusive consumer; label `consumer`.
pub const PINS_LOST: &str = "logline_bus_pins_lost_total";
/// Messages on the timeline that do not read as sealed spans and were given up; label `consumer`.
pub const UNREADABLE: &str = "logline_bus_unreadable_total";
/// Messages fetched by number because the consumer would not deliver them.
pub const INTAKE_FILLED: &str = "logline_bus_intake_filled_total";
/// Receipt inboxes ignored because the publisher may not name them (BUS-2).
pub const RECEIPTS_IGNORED: &str = "logline_bus_receipts_ignored_total";
/// Times that the connection to the server was lost.
pub const DISCONNECTS: &str = "logline_bus_disconnects_total";
