//! For which instant a timer fired.

use async_nats::{HeaderMap, header::NATS_SCHEDULE_NEXT};
use chrono::{DateTime, TimeZone, Utc};
use logline_span::Timestamp;

use crate::header;

/// The instant for which a firing was due, and the next one. `time_ns` is when the server stored the firing, never early
/// and usually within half a second.
pub(super) fn instants(headers: &HeaderMap, time_ns: i64) -> (Timestamp, Option<Timestamp>) {
    let text = |name: &str| Some(headers.get(name)?.as_str());
    let fired = Timestamp::from_nanos_truncating(time_ns);
    if let Some(due) = text(header::DUE).and_then(|due| due.parse().ok()) {
        return (due, None);
    }
    let next = headers
        .get_last(NATS_SCHEDULE_NEXT)
        .and_then(|next| DateTime::parse_from_rfc3339(next.as_str()).ok());
    let Some(next) = next else {
        return (fired, None);
    };
    let before = |period_ms: i64| next.timestamp_micros() - period_ms * 1000;
    let due = if let Some(period) = text(header::EVERY).and_then(|period| period.parse().ok()) {
        Some(before(period))
    } else {
        let zone = text(header::ZONE).unwrap_or("UTC").parse().ok();
        let cron = text(header::CRON).and_then(|cron| cron.parse().ok());
        zone.zip(cron)
            .and_then(|(zone, cron)| previous(&cron, zone, next.to_utc()))
    };
    // Schedules count in whole seconds.
    let fallback = || fired.as_micros().div_euclid(1_000_000) * 1_000_000;
    (
        Timestamp::from_micros(due.unwrap_or_else(fallback)),
        Some(Timestamp::from_micros(next.timestamp_micros())),
    )
}

/// The last occurrence before an instant, in microseconds.
fn previous(cron: &croner::Cron, zone: chrono_tz::Tz, next: DateTime<Utc>) -> Option<i64> {
    let next = zone.from_utc_datetime(&next.naive_utc());
    let due = cron.find_previous_occurrence(&next, false).ok()?;
    Some(due.timestamp_micros())
}
