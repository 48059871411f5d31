//! When what is sealed leaves `INGEST` (BUS-4).

use std::time::Duration;

use logline_bus::StreamState;
use logline_span::Timestamp;

/// Fuller than this many hundredths, the oldest sealed messages go first …
const FULL_PERCENT: u64 = 70;
/// … until the stream is this full, so that purges are few and large.
const RELIEVED_PERCENT: u64 = 50;
/// A look at the stream is due after this share of its capacity was sealed.
const LOOK_SHARE: u64 = 64;
/// Ages are looked at this many times within `ingest_keep`: kept messages outlive it by at most that part.
const LOOKS_PER_KEEP: u32 = 16;

/// Decides when to look; woken by sealed batches alone, never by a clock.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    bytes_since: u64,
    looked: Option<Looked>,
}

#[derive(Debug)]
struct Looked {
    at: Timestamp,
    bytes_max: Option<u64>,
}

impl Watch {
    /// Whether a look is due, after a batch that takes `bytes` of the stream and whose newest message the bus took at
    /// `time`.
    pub(crate) fn due(&mut self, bytes: u64, time: Timestamp, keep: Duration) -> bool {
        self.bytes_since = self.bytes_since.saturating_add(bytes);
        let Some(looked) = &self.looked else {
            return true;
        };
        let is_filled = looked
            .bytes_max
            .is_some_and(|max| self.bytes_since >= max / LOOK_SHARE);
        is_filled || time >= looked.at.saturating_add(keep / LOOKS_PER_KEEP)
    }

    pub(crate) fn looked(&mut self, stream: &StreamState, at: Timestamp) {
        let looked = Looked {
            at,
            bytes_max: stream.bytes_max,
        };
        *self = Self {
            bytes_since: 0,
            looked: Some(looked),
        };
    }
}

/// The number below which messages must go so that the stream has room again.
///
/// INVARIANT (last sealed stays): never above `sealed`, the last message that was sealed, which LED-17
/// compares on every connect.
pub(crate) fn relieve(stream: &StreamState, sealed: u64) -> u64 {
    let Some(bytes_max) = stream.bytes_max else {
        return stream.first;
    };
    if stream.bytes <= bytes_max / 100 * FULL_PERCENT {
        return stream.first;
    }
    let surplus = stream
        .bytes
        .saturating_sub(bytes_max / 100 * RELIEVED_PERCENT);
    let numbers = stream.last.saturating_sub(stream.first).saturating_add(1);
    let count =
        (u128::from(numbers) * u128::from(surplus)).div_ceil(u128::from(stream.bytes.max(1)));
    let below = stream
        .first
        .saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    below.min(sealed).max(stream.first)
}

/// Finds by halves the first sealed message that is not old; times on a stream rise with the numbers.
#[derive(Debug)]
pub(crate) struct Search {
    /// Everything below is old.
    low: u64,
    /// This one is not, or must stay.
    high: u64,
    is_first: bool,
}

impl Search {
    /// Searches below `sealed`: INVARIANT (last sealed stays).
    pub(crate) fn new(stream: &StreamState, sealed: u64) -> Self {
        Self {
            low: stream.first,
            high: sealed.max(stream.first),
            is_first: true,
        }
    }

    /// The message to look at next; the oldest first, which usually settles it.
    pub(crate) fn next(&self) -> Option<u64> {
        let middle = if self.is_first {
            self.low
        } else {
            self.low.midpoint(self.high)
        };
        (self.low < self.high).then_some(middle)
    }

    pub(crate) fn found(&mut self, seq: u64, is_old: bool) {
        self.is_first = false;
        if is_old {
            self.low = seq.saturating_add(1);
        } else {
            self.high = seq;
        }
    }

    /// The number below which every message is old.
    pub(crate) fn below(&self) -> u64 {
        self.low
    }
}

/// The time before which a message is older than `keep`, as of the newest message.
pub(crate) fn expiry(newest: Timestamp, keep: Duration) -> Timestamp {
    let keep = i64::try_from(keep.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(newest.as_micros().saturating_sub(keep))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(first: u64, last: u64, bytes: u64) -> StreamState {
        StreamState {
            first,
            last,
            messages: last + 1 - first,
            bytes,
            bytes_max: Some(1000),
        }
    }

    #[test]
    fn a_stream_with_room_is_left_alone() {
        assert_eq!(relieve(&stream(1, 100, 700), 100), 1);
    }

    #[test]
    fn a_full_stream_loses_its_oldest_until_it_is_half_full() {
        assert_eq!(relieve(&stream(1, 100, 1000), 100), 51);
    }

    #[test]
    fn what_is_not_sealed_and_the_last_sealed_stay() {
        assert_eq!(relieve(&stream(1, 100, 1000), 20), 20);
        assert_eq!(relieve(&stream(20, 100, 1000), 20), 20);
        assert_eq!(relieve(&stream(1, 100, 1000), 0), 1);
    }

    #[test]
    fn the_search_finds_the_first_that_is_not_old_in_few_looks() {
        for boundary in 1..=100 {
            let mut search = Search::new(&stream(1, 100, 1), 100);
            let mut looks = 0;
            while let Some(seq) = search.next() {
                search.found(seq, seq < boundary);
                looks += 1;
            }
            assert_eq!(search.below(), boundary);
            assert!(looks <= 9, "{looks}");
        }
    }

    #[test]
    fn a_look_is_due_at_first_and_after_a_share_of_bytes_or_time() {
        let (keep, start) = (Duration::from_secs(16), Timestamp::from_micros(0));
        let mut watch = Watch::default();
        assert!(watch.due(1, start, keep));
        watch.looked(&stream(1, 1, 1), start);
        assert!(!watch.due(1, start, keep));
        assert!(watch.due(20, start, keep));
        watch.looked(&stream(1, 1, 1), start);
        assert!(!watch.due(1, Timestamp::from_micros(999_999), keep));
        assert!(watch.due(1, Timestamp::from_micros(1_000_000), keep));
    }
}
