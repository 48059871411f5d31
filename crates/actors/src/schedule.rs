//! `metadata.schedule` of a function: when its request is repeated.
//!
//! | form | repeats |
//! | --- | --- |
//! | `"@at 2027-01-31T09:00:00+01:00"` | once, at that instant |
//! | `"@every 1h30m"` (units `d`, `h`, `m`, `s`) | at whole periods after the function was sealed |
//! | `"0 9 * * MON-FRI"`, `"@daily"` | by cron, in UTC; a sixth field in front counts seconds |
//! | `"CRON_TZ=Europe/Berlin 0 9 * * *"` | by cron, in that IANA zone |
//! | `{"cron": "0 9 * * *", "tz": "Europe/Berlin"}` | the same |
//!
//! A local time that a change of clocks skips runs at the first instant after the gap; one that comes twice runs
//! at its first.

use std::str::FromStr;

use chrono::{DateTime, TimeZone, Utc};
use chrono_tz::Tz;
use croner::Cron;
use logline_span::{Json, Timestamp};
use serde_json::Value;

/// Bus timers are precise to half a second: a shorter period would be a promise that nobody keeps.
const PERIOD_SECONDS_MIN: i64 = 1;
/// A century; keeps every sum of a period and a timestamp far from the ends of `i64`.
const PERIOD_SECONDS_MAX: i64 = 100 * 366 * 86_400;
/// No sensible cron expression with a zone is longer.
const TEXT_BYTES_MAX: usize = 256;
const MICROS: i64 = 1_000_000;
/// 2262-04-11: the bus counts nanoseconds in an `i64`, and takes what lies beyond for long past.
const LATEST: Timestamp = Timestamp::from_micros(i64::MAX / 1000);

/// Why a `metadata.schedule` cannot be followed; its text is shown to the function's owner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("metadata.schedule is neither a text nor an object with `cron` and, if wanted, `tz`")]
    Shape,
    #[error("metadata.schedule is longer than {TEXT_BYTES_MAX} bytes")]
    TooLong,
    #[error("`@at` needs an RFC 3339 instant, such as `@at 2027-01-31T09:00:00Z`")]
    At,
    #[error(
        "`@every` needs a duration of 1 s to 100 years in whole `d`, `h`, `m`, `s`, such as `@every 1h30m`"
    )]
    Every,
    #[error("the cron expression cannot be read: {0}")]
    Cron(String),
    #[error("the time zone is not an IANA name, such as `Europe/Berlin`")]
    Zone,
    #[error("the cron expression never comes true")]
    Never,
    #[error("it comes due after 2262-04-11, which is more than the bus can wait for")]
    TooFar,
}

/// When to repeat a function's request.
#[derive(Debug, Clone)]
pub(crate) enum Schedule {
    At(Timestamp),
    Every { period_seconds: i64 },
    Cron { cron: Box<Cron>, zone: Tz },
}

impl Schedule {
    /// The schedule in a function's metadata, if it has one.
    pub(crate) fn of(metadata: Option<&Json>) -> Option<Result<Self, Malformed>> {
        match metadata?.get("/schedule")? {
            Value::Null => None,
            value => Some(Self::parse(&value)),
        }
    }

    fn parse(value: &Value) -> Result<Self, Malformed> {
        match value {
            Value::String(text) if text.len() > TEXT_BYTES_MAX => Err(Malformed::TooLong),
            Value::String(text) => Self::from_text(text.trim()),
            Value::Object(fields) => {
                let text = |name: &str| {
                    fields
                        .get(name)
                        .map(|value| value.as_str().ok_or(Malformed::Shape))
                        .transpose()
                };
                let cron = text("cron")?.ok_or(Malformed::Shape)?;
                let zone = text("tz")?;
                if fields.len() > 1 + usize::from(zone.is_some()) {
                    return Err(Malformed::Shape);
                }
                Self::cron(cron, zone.unwrap_or("UTC"))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                Err(Malformed::Shape)
            }
        }
    }

    fn from_text(text: &str) -> Result<Self, Malformed> {
        if let Some(instant) = text.strip_prefix("@at ") {
            return Timestamp::from_str(instant.trim())
                .map(Self::At)
                .map_err(|_| Malformed::At);
        }
        if let Some(period) = text.strip_prefix("@every ") {
            return seconds(period.trim())
                .map(|period_seconds| Self::Every { period_seconds })
                .ok_or(Malformed::Every);
        }
        let zoned = text
            .strip_prefix("CRON_TZ=")
            .and_then(|rest| rest.split_once(' '));
        let (zone, cron) = zoned.unwrap_or(("UTC", text));
        Self::cron(cron, zone)
    }

    fn cron(expression: &str, zone: &str) -> Result<Self, Malformed> {
        if expression.len() > TEXT_BYTES_MAX {
            return Err(Malformed::TooLong);
        }
        let zone = Tz::from_str(zone).map_err(|_| Malformed::Zone)?;
        let cron =
            Cron::from_str(expression).map_err(|error| Malformed::Cron(error.to_string()))?;
        Ok(Self::Cron {
            cron: Box::new(cron),
            zone,
        })
    }

    /// The first due time after `after`; `sealed` is when the function's version was sealed.
    pub(crate) fn next(&self, sealed: Timestamp, after: Timestamp) -> Option<Timestamp> {
        self.occurrence(sealed, after).filter(|due| *due <= LATEST)
    }

    fn occurrence(&self, sealed: Timestamp, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::At(at) => (*at > after).then_some(*at),
            Self::Every { period_seconds } => {
                let period = period_seconds.checked_mul(MICROS)?;
                let elapsed = after.as_micros().saturating_sub(sealed.as_micros()).max(0);
                let whole = elapsed.checked_div(period)?.checked_add(1)?;
                let due = sealed.as_micros().checked_add(whole.checked_mul(period)?)?;
                Some(Timestamp::from_micros(due))
            }
            Self::Cron { cron, zone } => {
                let after: DateTime<Utc> = DateTime::from_timestamp_micros(after.as_micros())?;
                let due = cron
                    .find_next_occurrence(&zone.from_utc_datetime(&after.naive_utc()), false)
                    .ok()?;
                Some(Timestamp::from_micros(due.timestamp_micros()))
            }
        }
    }

    /// Whether it can ever come due. An `@at` in the past has simply been.
    pub(crate) fn check(&self, sealed: Timestamp) -> Result<(), Malformed> {
        match self {
            Self::At(at) if *at > LATEST => Err(Malformed::TooFar),
            Self::At(_) | Self::Every { .. } => Ok(()),
            Self::Cron { .. } => match self.occurrence(sealed, sealed) {
                None => Err(Malformed::Never),
                Some(due) if due > LATEST => Err(Malformed::TooFar),
                Some(_) => Ok(()),
            },
        }
    }
}

/// `1d2h30m5s` in seconds, within the bounds of a period.
fn seconds(text: &str) -> Option<i64> {
    let mut total = 0_i64;
    let mut number: Option<i64> = None;
    for character in text.chars() {
        if let Some(digit) = character.to_digit(10) {
            number = Some(
                number
                    .unwrap_or(0)
                    .checked_mul(10)?
                    .checked_add(i64::from(digit))?,
            );
            continue;
        }
        let unit = match character {
            'd' => 86_400,
            'h' => 3_600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        total = total.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    (number.is_none() && (PERIOD_SECONDS_MIN..=PERIOD_SECONDS_MAX).contains(&total))
        .then_some(total)
}

#[cfg(test)]
mod tests;
