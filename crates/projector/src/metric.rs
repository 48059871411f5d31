//! Every metric that this crate writes. Names are never reused.

use std::time::{SystemTime, UNIX_EPOCH};

use logline_bus::Incoming;
use logline_span::{Code, EntityType, Timestamp, reserved};

use crate::message::bus_time;

/// Spans sealed, by `entity_type`.
pub const SPANS_SEALED: &str = "spans_sealed_total";
/// Messages refused, by `reason` (the refusal's code).
pub const SPANS_REJECTED: &str = "spans_rejected_total";
/// From the bus message's time to the commit, milliseconds.
pub const SEAL_LATENCY: &str = "seal_latency_ms";
/// From the bus message's time to its arrival here, milliseconds.
pub const INGEST_LATENCY: &str = "ingest_latency_ms";
/// Messages taken from the bus and not yet committed.
pub const PENDING: &str = "pending_spans";

/// Types that anyone may write and that the system knows. Any other type is a client's own text, which the label must
/// not show and which could be another one each time.
const OPEN_TYPES: [&str; 4] = ["activity", "function", "law", "policy"];
const OTHER: &str = "other";

/// A span of this type was sealed.
pub(crate) fn counted(entity_type: &EntityType) {
    metrics::counter!(SPANS_SEALED, "entity_type" => label(entity_type)).increment(1);
}

/// The value of the label `entity_type`, one of a fixed set.
fn label(entity_type: &EntityType) -> String {
    let name = entity_type.as_str();
    let is_known = reserved::TYPES.contains(&name) || OPEN_TYPES.contains(&name);
    if is_known { name } else { OTHER }.to_owned()
}

pub(crate) fn rejected(code: Code) {
    metrics::counter!(SPANS_REJECTED, "reason" => code.as_str()).increment(1);
}

/// A leg begins with so many messages taken before.
pub(crate) fn begin(pending: usize) {
    metrics::gauge!(PENDING).set(pending as f64);
}

/// So many messages were committed, whatever became of each.
pub(crate) fn committed(count: usize) {
    metrics::gauge!(PENDING).decrement(count as f64);
}

/// The message arrived here.
pub(crate) fn ingested(incoming: &Incoming, now: Timestamp) {
    metrics::gauge!(PENDING).increment(1.0);
    metrics::histogram!(INGEST_LATENCY).record(age_ms(incoming, now));
}

/// The message's span is committed.
pub(crate) fn sealed(incoming: &Incoming, now: Timestamp) {
    metrics::histogram!(SEAL_LATENCY).record(age_ms(incoming, now));
}

/// Milliseconds since the bus took the message.
fn age_ms(incoming: &Incoming, now: Timestamp) -> f64 {
    let micros = now
        .as_micros()
        .saturating_sub(bus_time(incoming).as_micros())
        .max(0);
    micros as f64 / 1000.0
}

/// The wall clock, for latencies alone: nothing that is sealed depends on it (LED-7).
#[expect(
    clippy::disallowed_methods,
    reason = "latency against the bus's time needs the wall clock"
)]
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_own_type_is_no_label() {
        for (entity_type, wanted) in [
            ("activity", "activity"),
            ("function", "function"),
            ("policy", "policy"),
            ("law", "law"),
            ("execution", "execution"),
            ("law.decision", "law.decision"),
            ("shop.sale", "other"),
        ] {
            assert_eq!(label(&entity_type.parse().unwrap()), wanted);
        }
    }
}
