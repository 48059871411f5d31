//! The observer: every function sealed as scheduled gets one request, and its schedule repeats it.
//!
//! The bus wakes, the ledger decides (BUS-9): a timer that fires acts only while the function's latest version is the
//! one that set it, is scheduled and is not deleted. Runs that were missed come as one late run.

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
    // Only a later version can find a timer of an earlier one.
    let disarm = (function.span.seq > Seq::default()).then_some(Action::Disarm);
    if function.span.is_deleted {
        return disarm.into_iter().collect();
    }
    if depth >= DEPTH_MAX {
        let incident = written::too_deep(Writer::Observer, function, DEPTH_MAX);
        return [Action::Publish(Box::new(incident))]
            .into_iter()
            .chain(disarm)
            .collect();
    }
    let now = function.received_at;
    let mut actions = vec![Action::Publish(Box::new(written::request(function, now)))];
    match Schedule::of(function.span.metadata.as_ref()) {
        None => actions.extend(disarm),
        Some(schedule) => {
            match schedule.and_then(|schedule| schedule.check(now).map(|()| schedule)) {
                Ok(schedule) => match schedule.next(now, now) {
                    Some(due) => actions.push(Action::Arm(Alarm {
                        seq: function.span.seq,
                        due,
                        depth,
                    })),
                    None => actions.extend(disarm),
                },
                Err(malformed) => {
                    let violation = written::violation(Blocked {
                        writer: Writer::Observer,
                        cause: function,
                        function,
                        rule: "schedule",
                        code: "schedule_invalid",
                        detail: malformed.to_string(),
                    });
                    actions.push(Action::Publish(Box::new(violation)));
                    actions.extend(disarm);
                }
            }
        }
    }
    actions
}

/// A function's timer fired; `latest` is the function's latest version.
pub(crate) fn due(alarm: Alarm, now: Timestamp, latest: Option<&Sealed>) -> Vec<Action> {
    let Some(function) = latest.filter(|latest| is_open(latest)) else {
        return Vec::new();
    };
    let Some(Ok(schedule)) = Schedule::of(function.span.metadata.as_ref()) else {
        return Vec::new();
    };
    let sealed = function.received_at;
    let Alarm { seq, due, depth } = alarm;
    let (request, next) = if function.span.seq == seq {
        let from = if now > due.saturating_add(LATE) {
            now
        } else {
            due
        };
        (
            Some(written::request(function, due)),
            schedule.next(sealed, from),
        )
    } else {
        // A redelivered older version put its timer over the newer one's: the newer schedule starts again, and the
        // keys of what it asked for already keep that from happening twice.
        (None, schedule.next(sealed, sealed))
    };
    let publish = request.map(|request| Action::Publish(Box::new(request)));
    let arm = next.map(|due| {
        Action::Arm(Alarm {
            seq: function.span.seq,
            due,
            depth,
        })
    });
    publish.into_iter().chain(arm).collect()
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
