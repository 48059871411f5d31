//! Instants in microseconds.

use std::fmt;
use std::str::FromStr;

use crate::refusal::{Code, Refusal};

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// An instant in microseconds since 1970, UTC, without leap seconds.
///
/// ```
/// use logline_span::Timestamp;
/// let at: Timestamp = "2026-01-31T12:00:00.1234567+01:00".parse().unwrap();
/// assert_eq!(at.to_string(), "2026-01-31T11:00:00.123456Z");
/// assert!("2026-06-30T23:59:60Z".parse::<Timestamp>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The instant that many microseconds after (or before) 1970.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The microsecond that `nanos` since 1970 fall into.
    pub const fn from_nanos_truncating(nanos: i64) -> Self {
        Self(nanos.div_euclid(1_000))
    }

    /// The text form, in the years 0000 to 9999; on the hot path of every hash.
    pub(crate) fn to_bytes(self) -> Option<[u8; 27]> {
        let ([year, month, day], [hour, minute, second], micros) = self.parts();
        let mut bytes = *b"0000-00-00T00:00:00.000000Z";
        for (end, digits, number) in [
            (4, 4, year),
            (7, 2, month),
            (10, 2, day),
            (13, 2, hour),
            (16, 2, minute),
            (19, 2, second),
            (26, 6, micros),
        ] {
            let mut rest = number;
            for byte in bytes.get_mut(end - digits..end)?.iter_mut().rev() {
                *byte = b'0' + u8::try_from(rest.rem_euclid(10)).ok()?;
                rest = rest.div_euclid(10);
            }
        }
        (0..10_000).contains(&year).then_some(bytes)
    }

    const fn parts(self) -> ([i64; 3], [i64; 3], i64) {
        let seconds = self.0.div_euclid(MICROS_PER_SECOND);
        let second = seconds.rem_euclid(SECONDS_PER_DAY);
        (
            civil(seconds.div_euclid(SECONDS_PER_DAY)),
            [second / 3600, second / 60 % 60, second % 60],
            self.0.rem_euclid(MICROS_PER_SECOND),
        )
    }

    /// The instant `duration` later; the latest instant where there is none so late.
    #[must_use]
    pub fn saturating_add(self, duration: std::time::Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(bytes) = self.to_bytes() {
            return f.write_str(std::str::from_utf8(&bytes).map_err(|_| fmt::Error)?);
        }
        let ([year, month, day], [hour, minute, second], micros) = self.parts();
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z"
        )
    }
}

impl FromStr for Timestamp {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        parse(text.as_bytes()).ok_or_else(|| {
            Refusal::new(
                Code::InvalidTimestamp,
                "must be an RFC 3339 time with offset, in the years 0000 to 9999, second 00 to 59",
            )
        })
    }
}

fn parse(text: &[u8]) -> Option<Timestamp> {
    let (date_time, rest) = text.split_at_checked(19)?;
    let [
        y0,
        y1,
        y2,
        y3,
        b'-',
        mo0,
        mo1,
        b'-',
        d0,
        d1,
        b'T' | b't',
        h0,
        h1,
        b':',
        mi0,
        mi1,
        b':',
        s0,
        s1,
    ] = *date_time
    else {
        return None;
    };
    let year = number(&[y0, y1, y2, y3])?;
    let (month, day) = (number(&[mo0, mo1])?, number(&[d0, d1])?);
    let (hour, minute, second) = (number(&[h0, h1])?, number(&[mi0, mi1])?, number(&[s0, s1])?);
    let in_range = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !in_range {
        return None;
    }
    let (micros, rest) = fraction(rest)?;
    let offset_minutes = offset(rest)?;
    let seconds = days(year, month, day) * SECONDS_PER_DAY
        + hour * 3600
        + (minute - offset_minutes) * 60
        + second;
    // An offset may carry the instant out of the four-digit years that the canonical form can write.
    (days(0, 1, 1) * SECONDS_PER_DAY..days(10_000, 1, 1) * SECONDS_PER_DAY)
        .contains(&seconds)
        .then_some(Timestamp(seconds * MICROS_PER_SECOND + micros))
}

fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(digits_on) = text.strip_prefix(b".") else {
        return Some((0, text));
    };
    let length = digits_on
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (digits, rest) = digits_on.split_at_checked(length)?;
    let mut micros = 0;
    for place in 0..6 {
        micros = micros * 10 + digits.get(place).map_or(0, |digit| i64::from(digit - b'0'));
    }
    (length > 0).then_some((micros, rest))
}

fn offset(text: &[u8]) -> Option<i64> {
    match *text {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h0, h1, b':', m0, m1] => {
            let (hours, minutes) = (number(&[h0, h1])?, number(&[m0, m1])?);
            let total = hours * 60 + minutes;
            (hours < 24 && minutes < 60).then_some(if sign == b'-' { -total } else { total })
        }
        _ => None,
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, digit| {
        digit
            .is_ascii_digit()
            .then(|| sum * 10 + i64::from(digit - b'0'))
    })
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970 of a date of the proleptic Gregorian calendar (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The date of a day since 1970; the inverse of [`days`].
const fn civil(days: i64) -> [i64; 3] {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    [year, month, day_of_year - (153 * shifted + 2) / 5 + 1]
}
