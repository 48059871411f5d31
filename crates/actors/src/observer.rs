//! The observer: every function sealed as scheduled gets one request, and its schedule repeats it.
//!
//! The bus wakes, the ledger decides (BUS-9): a timer that fires acts only while the function's latest version is the
//! one that set it, is scheduled and is not deleted. Runs that were missed come as one late run.
//!
//! INVARIANT (last look): versions may be handled out of order, by several processes. Whoever writes a function's timer
//! then looks whether the version that it wrote for is still the latest, and writes again where it is not.

pub(crate) mod actor;

use std::time::Duration;

use logline_span::{Sealed, Seq, SpanId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::DEPTH_MAX;
use crate::schedule::Schedule;
use crate::written::{self, Blocked, Writer, Written};

/// What the observer does about something.
#[derive(Debug)]
pub(crate) enum Action {
    Publish(Box<Written>),
    /// Sets the function's timer in place of the one that may be there.
    Arm(Alarm),
    /// Cancels the function's timer, if there is one.
    Disarm,
}

/// The body of a function's timer; its address names tenant and function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Alarm {
    /// The version whose schedule this is.
    pub(crate) seq: Seq,
    /// When it should fire: names the run, however late it is.
    pub(crate) due: Timestamp,
    /// Depth of the function in its chain of causes (EXE-8).
    pub(crate) depth: u16,
}

/// A firing that is later than this missed runs, which come as one; less is the bus's precision and drift of clocks.
const LATE: Duration = Duration::from_secs(5);

/// A function was sealed as scheduled.
pub(crate) fn sealed(function: &Sealed, depth: u16) -> Vec<Action> {
    let mut actions: Vec<_> = said(function, depth)
        .into_iter()
        .map(|written| Action::Publish(Box::new(written)))
        .collect();
    actions.extend(match timer(Some(function), depth) {
        // Only a later version can find a timer of an earlier one.
        Action::Disarm if function.span.seq == Seq::default() => None,
        timer => Some(timer),
    });
    actions
}

/// What a version says of itself, whatever came after it.
fn said(function: &Sealed, depth: u16) -> Vec<Written> {
    if function.span.is_deleted {
        return Vec::new();
    }
    if depth >= DEPTH_MAX {
        return vec![written::too_deep(Writer::Observer, function, DEPTH_MAX)];
    }
    let now = function.received_at;
    let malformed = Schedule::of(function.span.metadata.as_ref())
        .and_then(|schedule| schedule.and_then(|schedule| schedule.check(now)).err());
    let violation = malformed.map(|malformed| {
        written::violation(Blocked {
            writer: Writer::Observer,
            cause: function,
            function,
            rule: "schedule",
            code: "schedule_invalid",
            detail: malformed.to_string(),
        })
    });
    [written::request(function, now)]
        .into_iter()
        .chain(violation)
        .collect()
}

/// The timer that a function has from its latest version on, before it fired.
pub(crate) fn timer(latest: Option<&Sealed>, depth: u16) -> Action {
    let due = latest
        .filter(|latest| is_open(latest) && depth < DEPTH_MAX)
        .and_then(|function| {
            let sealed = function.received_at;
            let schedule = Schedule::of(function.span.metadata.as_ref())?.ok()?;
            schedule.check(sealed).ok()?;
            Some((function.span.seq, schedule.next(sealed, sealed)?))
        });
    match due {
        Some((seq, due)) => Action::Arm(Alarm { seq, due, depth }),
        None => Action::Disarm,
    }
}

/// A function's timer fired; `latest` is the function's latest version.
pub(crate) fn due(alarm: Alarm, now: Timestamp, latest: Option<&Sealed>) -> Vec<Action> {
    let Some(function) = latest.filter(|latest| is_open(latest)) else {
        return Vec::new();
    };
    let Alarm { seq, due, depth } = alarm;
    if function.span.seq != seq {
        // The newer schedule starts again, and the keys of what it asked for already keep that from happening twice.
        return vec![timer(latest, depth)];
    }
    let Some(Ok(schedule)) = Schedule::of(function.span.metadata.as_ref()) else {
        return Vec::new();
    };
    let from = if now > due.saturating_add(LATE) {
        now
    } else {
        due
    };
    let next = schedule.next(function.received_at, from);
    let request = Action::Publish(Box::new(written::request(function, due)));
    let arm = next.map(|due| Action::Arm(Alarm { seq, due, depth }));
    [request].into_iter().chain(arm).collect()
}

/// A function's timer fired, and the ledger holds the function in a form that cannot be read: its schedule ends, visibly.
pub(crate) fn unreadable(alarm: Alarm, tenant: &TenantId, function: SpanId) -> Vec<Action> {
    let Alarm { seq, due, .. } = alarm;
    let incident = written::unreadable(tenant, function, seq, due);
    vec![Action::Publish(Box::new(incident))]
}

fn is_open(function: &Sealed) -> bool {
    let span = &function.span;
    span.entity_type.as_str() == "function"
        && span
            .status
            .as_ref()
            .is_some_and(|status| status.as_str() == "scheduled")
        && !span.is_deleted
}

#[cfg(test)]
mod tests;
