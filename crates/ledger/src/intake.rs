//! What became of each message of the bus, beside the rows and not hashed.

use logline_span::{Hash, Position, Refusal, Seq, SpanId, Timestamp};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::Error;
use crate::row::{self, BadColumn};

/// What, together with its number, identifies a message of the bus: a bus that lost its newest messages gives their
/// numbers to others (LED-17), and those may say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// The bus's digest of its address and body.
    pub digest: [u8; 16],
    /// The bus's time of it, in nanoseconds since 1970.
    pub time_ns: i64,
}

/// What the ledger knows about a message that was handled.
#[derive(Clone, Debug, PartialEq)]
pub enum StoredOutcome {
    /// It was sealed, or repeats a span that was.
    Sealed {
        /// The span's id.
        id: SpanId,
        /// Its version.
        seq: Seq,
        /// What its author says about when.
        at: Timestamp,
        /// Its place in the tenant's chain.
        position: Position,
        /// Its hash in the chain.
        curr_hash: Hash,
        /// Whether an earlier message had brought it.
        duplicate: bool,
    },
    /// It was refused and lies in quarantine.
    Refused(Refusal),
}

/// Reads an outcome: either the refusal's columns or the span's are there.
pub(crate) fn decode(row: &PgRow) -> Result<StoredOutcome, Error> {
    let code: Option<&str> = row.try_get("refusal_code")?;
    let outcome = match code {
        Some(code) => refusal(row, code),
        None => sealed(row),
    };
    outcome.map_err(|BadColumn(column)| Error::Undecodable {
        tenant: String::new(),
        position: row::get(row, "position").unwrap_or_default(),
        column,
    })
}

fn refusal(row: &PgRow, code: &str) -> Result<StoredOutcome, BadColumn> {
    let code = code.parse().map_err(|_| BadColumn("refusal_code"))?;
    let detail: String = row::get(row, "refusal_detail")?;
    let pointer: String = row::get(row, "refusal_pointer")?;
    Ok(StoredOutcome::Refused(
        Refusal::new(code, detail).at(pointer),
    ))
}

fn sealed(row: &PgRow) -> Result<StoredOutcome, BadColumn> {
    Ok(StoredOutcome::Sealed {
        id: SpanId::from_uuid(row::get(row, "id")?),
        seq: row::seq(row)?,
        at: row::time(row, "at")?,
        position: row::position(row)?,
        curr_hash: row::hash(row, "curr_hash")?,
        duplicate: row::get(row, "duplicate")?,
    })
}
