//! Whether a span may stand as a version of what is sealed (SPAN-3).

use crate::envelope::Span;
use crate::hash::Hash;
use crate::ids::{EntityType, Principal, Seq, TraceId};
use crate::refusal::{Code, Refusal};
use crate::time::Timestamp;

/// The latest sealed version of an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latest {
    /// Its version.
    pub seq: Seq,
    /// Its owner.
    pub owner: Principal,
    /// Its type.
    pub entity_type: EntityType,
}

/// The sealed span with the same id and `seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its `at`.
    pub at: Timestamp,
    /// Its `trace_id`.
    pub trace_id: TraceId,
    /// Its content hash.
    pub content_hash: Hash,
}

/// What becomes of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Seal it.
    New,
    /// It is sealed: answer with the first receipt.
    Repeat,
    /// It must not stand.
    Refused(Refusal),
}

/// Judges `span` against what is sealed under its id: the latest version, and the one with the same `seq`, which
/// is needed only where `span.seq` is not higher than the latest.
///
/// ```
/// # use logline_span::{version, Seq};
/// // An id that nobody used before is always new.
/// # fn f(span: &logline_span::Span) {
/// assert_eq!(version::judge(None, span, None), version::Verdict::New);
/// # }
/// ```
pub fn judge(latest: Option<&Latest>, span: &Span, same: Option<&Stored>) -> Verdict {
    let Some(latest) = latest else {
        return Verdict::New;
    };
    if latest.owner != span.owner_id {
        return refused(
            Code::VersionOwner,
            "/id",
            "the id belongs to another owner, who alone appends versions to it",
        );
    }
    if let Some(same) = same.filter(|_| span.seq <= latest.seq) {
        if is_repeat(span, same) {
            return Verdict::Repeat;
        }
        return refused(
            Code::VersionConflict,
            "/seq",
            "another content is sealed under this id and seq",
        );
    }
    if span.seq <= latest.seq {
        return refused(
            Code::VersionStale,
            "/seq",
            "seq must be higher than the latest sealed one of this id",
        );
    }
    if latest.entity_type != span.entity_type {
        return refused(
            Code::VersionType,
            "/entity_type",
            "a version keeps the entity_type of the one before it",
        );
    }
    Verdict::New
}

fn is_repeat(span: &Span, same: &Stored) -> bool {
    let changes_at = !span.at_given && span.at != same.at;
    let changes_trace = !span.trace_given && span.trace_id != same.trace_id;
    if !changes_at && !changes_trace {
        return span.content_hash() == same.content_hash;
    }
    let mut span = span.clone();
    if changes_at {
        span.at = same.at;
    }
    if changes_trace {
        span.trace_id = same.trace_id;
    }
    span.content_hash() == same.content_hash
}

fn refused(code: Code, pointer: &str, detail: &str) -> Verdict {
    Verdict::Refused(Refusal::new(code, detail).at(pointer))
}
