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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Arrival, Draft, Encoding, Limits, SpanId};

    const BODY: &str = r#"{"entity_type":"activity","who":"alice","this":"door","seq":1}"#;

    /// A span with id 1, as it arrives at some second.
    fn span(body: &str, second: i64) -> Span {
        let arrival = Arrival {
            tenant: &"acme".parse().unwrap(),
            principal: &"alice".parse().unwrap(),
            entity_type: None,
            received_at: Timestamp::from_micros(second * 1_000_000),
            trace_id: TraceId::from_bytes((1 + second).to_be_bytes().repeat(2).try_into().unwrap()),
            id: SpanId::derived(1, "", b""),
        };
        let draft = Draft::parse(body.as_bytes(), Encoding::Json, &Limits::STANDARD).unwrap();
        draft.complete(&arrival, &Limits::STANDARD).unwrap()
    }

    fn latest(seq: u32) -> Latest {
        Latest {
            seq: Seq::new(seq).unwrap(),
            owner: "alice".parse().unwrap(),
            entity_type: "activity".parse().unwrap(),
        }
    }

    fn stored(span: &Span) -> Stored {
        Stored {
            at: span.at,
            trace_id: span.trace_id,
            content_hash: span.content_hash(),
        }
    }

    fn code(verdict: Verdict) -> Option<Code> {
        match verdict {
            Verdict::New | Verdict::Repeat => None,
            Verdict::Refused(refusal) => Some(refusal.code),
        }
    }

    #[test]
    fn span_3_a_higher_seq_of_the_same_owner_and_type_is_new() {
        assert_eq!(judge(Some(&latest(0)), &span(BODY, 1), None), Verdict::New);
        assert_eq!(
            code(judge(Some(&latest(2)), &span(BODY, 1), None)),
            Some(Code::VersionStale)
        );
        let other = Latest {
            owner: "bob".parse().unwrap(),
            ..latest(0)
        };
        assert_eq!(
            code(judge(Some(&other), &span(BODY, 1), None)),
            Some(Code::VersionOwner)
        );
        let other = Latest {
            entity_type: "report".parse().unwrap(),
            ..latest(0)
        };
        assert_eq!(
            code(judge(Some(&other), &span(BODY, 1), None)),
            Some(Code::VersionType)
        );
    }

    #[test]
    fn span_3_a_repeat_may_leave_out_time_and_trace() {
        let first = span(BODY, 1);
        assert_eq!(
            judge(Some(&latest(1)), &span(BODY, 2), Some(&stored(&first))),
            Verdict::Repeat
        );
        assert_eq!(
            judge(Some(&latest(5)), &span(BODY, 2), Some(&stored(&first))),
            Verdict::Repeat,
            "also an older one"
        );
        let same_time = BODY.replace('}', &format!(r#","at":"{}"}}"#, first.at));
        assert_eq!(
            judge(
                Some(&latest(1)),
                &span(&same_time, 2),
                Some(&stored(&first))
            ),
            Verdict::Repeat
        );
    }

    #[test]
    fn span_3_other_content_under_the_same_seq_is_a_conflict() {
        let first = stored(&span(BODY, 1));
        for changed in [
            BODY.replace("door", "window"),
            BODY.replace('}', r#","at":"1970-01-01T00:00:02Z"}"#),
            BODY.replace('}', r#","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}"#),
        ] {
            assert_eq!(
                code(judge(Some(&latest(1)), &span(&changed, 2), Some(&first))),
                Some(Code::VersionConflict)
            );
        }
    }
}
