//! What becomes of each message: the pure core of the projector.
//!
//! `decide` sees the messages of a batch in order, what the ledger knows about the ids and keys that
//! they name, and what is still being committed. Nothing else enters, least of all a clock: the chain
//! is a function of the messages, their order and their times (LED-7).

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use logline_ledger::{Existing, KeyHolder, Named, Version, Wanted};
use logline_span::version::{self, Latest, Stored};
use logline_span::{
    Arrival, Hash, Head, Limits, Refusal, Sealed, Span, SpanId, TenantId, Timestamp,
};

use crate::batch::Decided;
use crate::heads::Heads;
use crate::message::{Message, Reading, bus_time, internal};
use crate::overlay::Overlay;

/// What became of one message.
#[derive(Debug, Clone)]
pub(crate) enum Verdict {
    /// It has a place in its tenant's chain.
    Sealed {
        sealed: Arc<Sealed>,
        content_hash: Hash,
    },
    /// It says again what was said before: what the first one's receipt says.
    Repeat(KeyHolder),
    /// It is refused.
    Refused(Refusal),
}

fn first(sealed: &Sealed) -> KeyHolder {
    KeyHolder {
        id: sealed.span.id,
        seq: sealed.span.seq,
        position: sealed.position,
        at: sealed.span.at,
        curr_hash: sealed.curr_hash,
    }
}

/// Sealed versions that the ledger holds and that this batch names again.
pub(crate) type Versions = HashMap<Named, Version>;

/// What has been decided and is not yet known to be committed.
pub(crate) struct State {
    /// INVARIANT (shard clock): the time of every message so far lies at most 1 µs behind it, and no span was received
    /// after it. The next one is, whatever the bus's clock says: what a reader has seen up to a time stays so (LED-4).
    pub(crate) clock: Timestamp,
    pub(crate) heads: Heads,
    pub(crate) overlay: Overlay,
}

impl State {
    /// Nothing decided since the shard's clock stood at `clock`; up to `heads_max` heads are kept.
    pub(crate) fn new(clock: Timestamp, heads_max: usize) -> Self {
        Self {
            clock,
            heads: Heads::new(heads_max),
            overlay: Overlay::default(),
        }
    }

    /// Moves the clock to just before the message's time; gives the time at which its span would be received.
    fn tick(&mut self, bus_time: Timestamp) -> Timestamp {
        let before = Timestamp::from_micros(bus_time.as_micros().saturating_sub(1));
        self.clock = self.clock.max(before);
        Timestamp::from_micros(self.clock.as_micros().saturating_add(1))
    }
}

/// What the ledger must be asked before the batch can be decided.
///
/// A derived id cannot exist unless the bus delivers what was sealed before it forgot; then the commit
/// conflicts and the batch is decided again, `careful` to ask for every id.
pub(crate) fn wanted(messages: &[Message], careful: bool) -> Vec<Wanted> {
    let readings = messages
        .iter()
        .filter_map(|message| message.reading.as_ref().ok());
    readings
        .filter(|reading| {
            careful || reading.draft.id.is_some() || reading.draft.idempotency_key.is_some()
        })
        .map(|reading| Wanted {
            tenant: reading.tenant.clone(),
            owner: reading.owner().clone(),
            id: reading.id,
            key: reading.draft.idempotency_key.clone(),
        })
        .collect()
}

/// The sealed versions that `existing` says may be repeated (SPAN-3), each once.
pub(crate) fn repeated(messages: &[Message], existing: &Existing) -> Vec<Named> {
    let readings = messages
        .iter()
        .filter_map(|message| message.reading.as_ref().ok());
    let named = readings.filter_map(|reading| {
        let latest = latest(existing, &reading.tenant, reading.id)?;
        let seq = reading.draft.seq.unwrap_or_default();
        // Of another's span there is nothing to repeat.
        let may_be = seq <= latest.seq && *reading.owner() == latest.owner;
        may_be.then(|| (reading.tenant.clone(), reading.id, seq))
    });
    named.collect::<HashSet<_>>().into_iter().collect()
}

/// Decides every message of a batch, in order, and moves clock, heads and overlay on.
///
/// INVARIANT (heads loaded): the head of every tenant of the batch is in `state`.
pub(crate) fn decide(
    state: &mut State,
    batch: u64,
    messages: Vec<Message>,
    existing: &Existing,
    versions: &Versions,
    limits: &Limits,
) -> Vec<Decided> {
    let known = Known { existing, versions };
    messages
        .into_iter()
        .map(
            |Message {
                 incoming,
                 fingerprint,
                 reading,
                 trace,
             }| {
                let time = state.tick(bus_time(&incoming));
                // LED-16: as in `Message::read`. Nothing has moved on where it did not come to an end.
                let verdict = reading
                    .and_then(|reading| {
                        let one = || one(state, batch, reading, time, &known, limits);
                        catch_unwind(AssertUnwindSafe(one)).unwrap_or_else(|_| Err(internal()))
                    })
                    .unwrap_or_else(Verdict::Refused);
                Decided {
                    incoming,
                    fingerprint,
                    verdict,
                    trace,
                }
            },
        )
        .collect()
}

/// What the ledger answered about a batch.
struct Known<'a> {
    existing: &'a Existing,
    versions: &'a Versions,
}

fn one(
    state: &mut State,
    batch: u64,
    reading: Reading,
    time: Timestamp,
    known: &Known<'_>,
    limits: &Limits,
) -> Result<Verdict, Refusal> {
    let State {
        clock,
        heads,
        overlay,
    } = state;
    let head = heads.get_mut(&reading.tenant, batch).ok_or_else(internal)?;
    let principal = reading.principal.clone();
    let span = complete(reading, head, time, limits)?;
    if let Some(first) = keyed(&span, overlay, known.existing) {
        return Ok(Verdict::Repeat(first));
    }
    if let Some(first) = versioned(&span, overlay, known)? {
        return Ok(Verdict::Repeat(first));
    }
    let content_hash = span.content_hash();
    let sealed = Arc::new(head.seal(span, content_hash, principal, time));
    *clock = sealed.received_at;
    overlay.insert(batch, &sealed);
    Ok(Verdict::Sealed {
        sealed,
        content_hash,
    })
}

fn complete(
    reading: Reading,
    head: &Head,
    time: Timestamp,
    limits: &Limits,
) -> Result<Span, Refusal> {
    let arrival = Arrival {
        tenant: &reading.tenant,
        principal: &reading.principal,
        entity_type: Some(&reading.entity_type),
        received_at: head.next_received_at(time),
        trace_id: reading.trace_id,
        id: reading.id,
    };
    reading.draft.complete(&arrival, limits)
}

/// The span that first used the key, in flight or in the ledger.
fn keyed(span: &Span, overlay: &Overlay, existing: &Existing) -> Option<KeyHolder> {
    let key = span.idempotency_key.as_deref()?;
    let (tenant, owner) = (&span.tenant_id, &span.owner_id);
    if let Some(row) = overlay.keyed(tenant, owner, key) {
        return Some(first(row));
    }
    existing
        .by_key
        .get(&(tenant.clone(), owner.clone(), key.to_owned()))
        .copied()
}

/// The latest version in the ledger.
fn latest<'a>(existing: &'a Existing, tenant: &TenantId, id: SpanId) -> Option<&'a Latest> {
    if existing.by_id.is_empty() {
        return None;
    }
    existing.by_id.get(&(tenant.clone(), id))
}

/// SPAN-3: `Some` where the span repeats a sealed version, `None` where it is a new one.
fn versioned(
    span: &Span,
    overlay: &Overlay,
    known: &Known<'_>,
) -> Result<Option<KeyHolder>, Refusal> {
    let (tenant, id, seq) = (&span.tenant_id, span.id, span.seq);
    // What is in flight was decided upon what the ledger held, so it is the later one.
    let in_flight = overlay.latest(tenant, id).map(|row| Latest {
        seq: row.span.seq,
        owner: row.span.owner_id.clone(),
        entity_type: row.span.entity_type.clone(),
    });
    let Some(latest) = in_flight.or_else(|| latest(known.existing, tenant, id).cloned()) else {
        return Ok(None);
    };
    let same = match overlay.version(tenant, id, seq) {
        Some(row) => Some(as_version(row)),
        None => known.versions.get(&(tenant.clone(), id, seq)).copied(),
    };
    let stored = same.map(|same| same.stored);
    match version::judge(Some(&latest), span, stored.as_ref()) {
        version::Verdict::New => Ok(None),
        version::Verdict::Repeat => Ok(same.map(|same| same.first)),
        version::Verdict::Refused(refusal) => Err(refusal),
    }
}

fn as_version(sealed: &Sealed) -> Version {
    Version {
        first: first(sealed),
        stored: Stored {
            at: sealed.span.at,
            trace_id: sealed.span.trace_id,
            content_hash: sealed.span.content_hash(),
        },
    }
}

#[cfg(test)]
mod tests;
