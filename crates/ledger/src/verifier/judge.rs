//! One row by itself: what its columns give, beside what they say.

use logline_span::{Hash, Seq, SpanId, signature};
use sqlx::postgres::PgRow;

use crate::Part;
use crate::row::{self, BadColumn};

/// A row as read.
pub(super) struct Stored {
    pub(super) position: i64,
    pub(super) row: Result<row::Stored, BadColumn>,
    pub(super) marks: Marks,
}

/// What names a row and ties it to its neighbours, as far as it can be read.
#[derive(Clone, Copy)]
pub(super) struct Marks {
    pub(super) id: Option<SpanId>,
    pub(super) seq: Option<Seq>,
    pub(super) prev_hash: Option<Hash>,
    pub(super) curr_hash: Option<Hash>,
}

/// What a row gives.
pub(super) struct Judged {
    pub(super) position: i64,
    pub(super) marks: Marks,
    /// What is wrong with the row whatever its neighbours are.
    pub(super) found: Vec<(Part, &'static str)>,
    /// The hash that its columns give; none where they cannot be decoded.
    pub(super) expected: Option<Hash>,
    /// Whether that is the stored one.
    pub(super) whole: bool,
}

pub(super) fn marks(row: &PgRow) -> Marks {
    Marks {
        id: row::get(row, "id").ok().map(SpanId::from_uuid),
        seq: row::seq(row).ok(),
        prev_hash: row::hash(row, "prev_hash").ok(),
        curr_hash: row::hash(row, "curr_hash").ok(),
    }
}

/// Judges rows together: their signatures hold by one equation in the ordinary case, and are told apart only where it fails.
pub(super) fn judge(group: Vec<Stored>) -> Vec<Judged> {
    let signed = group.iter().filter_map(|stored| {
        let row = stored.row.as_ref().ok()?;
        let span = &row.sealed.span;
        Some((span.public_key?, row.content_hash, span.signature?))
    });
    let are_signed = signature::verify_contents(&signed.collect::<Vec<_>>());
    let one = |stored| judge_one(stored, are_signed);
    group.into_iter().map(one).collect()
}

/// `is_signed` says that the signature, where there is one, fits the stored content hash.
fn judge_one(stored: Stored, is_signed: bool) -> Judged {
    let Stored {
        position,
        row,
        marks,
    } = stored;
    let mut judged = Judged {
        position,
        marks,
        found: Vec::new(),
        expected: None,
        whole: false,
    };
    let row = match row {
        Ok(row) => row,
        Err(BadColumn(column)) => {
            judged.found.push((part_of(column), column));
            return judged;
        }
    };
    let span = &row.sealed.span;
    let content = span.content_hash();
    if content != row.content_hash {
        judged
            .found
            .push((Part::Content, "the values do not give the content hash"));
    }
    let signature_holds = match (span.signature, span.public_key) {
        (None, None) => true,
        (Some(signature), Some(key)) => {
            let fits = |hash| signature::verify_content(&key, &hash, &signature);
            // Where the content was altered, the signature still fits the stored hash.
            is_signed || fits(row.content_hash) || (content != row.content_hash && fits(content))
        }
        (Some(_), None) | (None, Some(_)) => false,
    };
    if !signature_holds {
        judged.found.push((
            Part::Signature,
            "the signature does not fit the content and the key",
        ));
    }
    let curr_hash = row.sealed.curr_hash;
    let expected = row.sealed.expected_hash(row.content_hash);
    // Where the stored content hash alone was altered, the values still give the chain's.
    let recomputed = row.sealed.expected_hash(content);
    judged.whole = expected == curr_hash || recomputed == curr_hash;
    judged.expected = Some(if recomputed == curr_hash {
        recomputed
    } else {
        expected
    });
    judged
}

/// Which part a column belongs to that cannot be decoded.
fn part_of(column: &str) -> Part {
    match column {
        "prev_hash" | "curr_hash" => Part::Link,
        "signature" | "public_key" => Part::Signature,
        _ => Part::Content,
    }
}
