//! Names of the headers that LogLine reads and writes (BUS-3).

/// `application/json` (where absent) or `application/msgpack`.
pub const CONTENT_TYPE: &str = "Content-Type";
/// The W3C trace context of the publisher.
pub const TRACEPARENT: &str = "traceparent";
/// The inbox where the publisher wants the receipt.
pub const RECEIPT: &str = "Logline-Receipt";
/// Length of the chain of causes that led to the message; counts from the system's principals alone.
pub const DEPTH: &str = "Logline-Depth";

/// Why a quarantined message was refused: the JSON pointer of the field.
pub const POINTER: &str = "Logline-Pointer";
/// Why a quarantined message was refused: one sentence.
pub const DETAIL: &str = "Logline-Detail";
/// The address that a quarantined message was sent to.
pub const SUBJECT: &str = "Logline-Subject";

/// The number of a span on the timeline, with which a replay goes on.
pub const OFFSET: &str = "Logline-Offset";
/// How many spans a replay leaves to be asked for.
pub const PENDING: &str = "Logline-Pending";

/// The instant for which a one-shot timer was set.
pub const DUE: &str = "Logline-Due";
/// The period of a repeating timer, in milliseconds.
pub const EVERY: &str = "Logline-Every";
/// The cron expression of a repeating timer.
pub const CRON: &str = "Logline-Cron";
/// The IANA zone of a cron expression.
pub const ZONE: &str = "Logline-Zone";

/// A text as a header's value: what would break out of it, or is too long for it, is left out.
pub(crate) fn value(text: &str) -> async_nats::HeaderValue {
    let text: String = crate::receipt::shortened(text)
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    async_nats::HeaderValue::from(text)
}
