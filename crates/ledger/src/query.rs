//! What a reader may ask of the timeline, and what comes back.

use std::fmt;
use std::str::FromStr;

use logline_span::{
    EntityType, Position, Principal, Sealed, SpanId, Status, TenantId, Timestamp, TraceId,
};

/// The instant as of which the ledger is read (LED-4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AsOf {
    /// All that is sealed.
    #[default]
    Latest,
    /// What was sealed at that instant, by `received_at`; refused beyond what is sealed.
    At(Timestamp),
}

/// Filters of the timeline; all given ones hold together.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Of this type.
    pub entity_type: Option<EntityType>,
    /// Of this owner.
    pub owner_id: Option<Principal>,
    /// Of this tenant.
    pub tenant_id: Option<TenantId>,
    /// With this author's name.
    pub who: Option<String>,
    /// In this status.
    pub status: Option<Status>,
    /// Of this trace.
    pub trace_id: Option<TraceId>,
    /// Belonging to this span.
    pub parent_id: Option<SpanId>,
    /// Referring to this span.
    pub related_to: Option<SpanId>,
    /// `at` not before, inclusive.
    pub since: Option<Timestamp>,
    /// `at` not after, inclusive.
    pub until: Option<Timestamp>,
    /// At most this many; bounded by [`Query::LIMIT_MAX`].
    pub limit: u32,
    /// Go on after a page.
    pub cursor: Option<Cursor>,
    /// As of when.
    pub as_of: AsOf,
}

impl Query {
    /// Rows of one page where the caller says nothing.
    pub const LIMIT: u32 = 100;
    /// Rows of one page at most: a page is held in memory whole, and so it ends sooner where its rows are large.
    pub const LIMIT_MAX: u32 = 1000;
}

/// One page of the timeline, newest sealed first.
#[derive(Clone, Debug)]
pub struct Page {
    /// The latest versions that match.
    pub spans: Vec<Sealed>,
    /// Where the next page goes on; `None` at the end.
    pub next: Option<Cursor>,
    /// Up to when the answer is final; `None` while nothing is sealed.
    pub sealed_through: Option<Timestamp>,
}

/// A place between two rows in the order (`received_at`, tenant, position), which is total across tenants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub(crate) received_at: Timestamp,
    pub(crate) tenant: TenantId,
    pub(crate) position: Position,
}

impl Cursor {
    /// The place right after (older than) this row.
    #[must_use]
    pub fn after(sealed: &Sealed) -> Self {
        Self {
            received_at: sealed.received_at,
            tenant: sealed.span.tenant_id.clone(),
            position: sealed.position,
        }
    }
}

/// A cursor that this system did not write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is not one that a page ended with")]
pub struct InvalidCursor;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{}.{}",
            self.received_at.as_micros(),
            self.position.get(),
            self.tenant
        )
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let mut parts = text.splitn(3, '.');
        let (Some(micros), Some(position), Some(tenant)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidCursor);
        };
        Ok(Self {
            received_at: Timestamp::from_micros(micros.parse().map_err(|_| InvalidCursor)?),
            tenant: tenant.parse().map_err(|_| InvalidCursor)?,
            position: Position::new(position.parse().map_err(|_| InvalidCursor)?)
                .ok_or(InvalidCursor)?,
        })
    }
}
