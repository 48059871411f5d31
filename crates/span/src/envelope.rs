//! The complete envelope and its canonical bytes.

use std::fmt;

use crate::fields::Fields;
use crate::hash::Hash;
use crate::ids::{EntityType, Principal, Seq, SpanId, Status, TenantId, TraceId, Visibility};
use crate::json::Json;
use crate::signature::{PublicKey, Signature};
use crate::time::Timestamp;

/// A span with every default filled in, ready to be sealed.
#[derive(Clone)]
pub struct Span {
    /// The id, shared by all versions.
    pub id: SpanId,
    /// The version.
    pub seq: Seq,
    /// What kind of fact it is.
    pub entity_type: EntityType,
    /// The name under which the author acts.
    pub who: String,
    /// The verb.
    pub did: Option<String>,
    /// The object of the act.
    pub this: String,
    /// When, as the author says.
    pub at: Timestamp,
    /// The span that this one belongs to.
    pub parent_id: Option<SpanId>,
    /// Other spans that it refers to, in the author's order.
    pub related_to: Vec<SpanId>,
    /// The span whose handling produced it.
    pub caused_by: Option<SpanId>,
    /// The trace.
    pub trace_id: TraceId,
    /// Whose it is.
    pub owner_id: Principal,
    /// In which tenant.
    pub tenant_id: TenantId,
    /// Who may read it.
    pub visibility: Visibility,
    /// Where the thing stands.
    pub status: Option<Status>,
    /// Hidden from readers.
    pub is_deleted: bool,
    /// Name of a function, policy, law or prompt.
    pub name: Option<String>,
    /// Its description.
    pub description: Option<String>,
    /// Its text.
    pub code: Option<String>,
    /// The language of `code`.
    pub language: Option<String>,
    /// What runs it.
    pub runtime: Option<String>,
    /// Free.
    pub input: Option<Json>,
    /// Free.
    pub output: Option<Json>,
    /// Free.
    pub error: Option<Json>,
    /// Free.
    pub content: Option<Json>,
    /// Free.
    pub metadata: Option<Json>,
    /// How long it took.
    pub duration_ms: Option<u32>,
    /// One effect per (tenant, owner, key).
    pub idempotency_key: Option<String>,
    /// The author's signature.
    pub signature: Option<Signature>,
    /// The key that verifies it.
    pub public_key: Option<PublicKey>,
    /// Whether the author named `at` (SPAN-3); no part of the content.
    pub at_given: bool,
    /// Whether the author named `trace_id` (SPAN-3); no part of the content.
    pub trace_given: bool,
}

impl Span {
    /// Appends the canonical bytes (SPAN-6) to `out`.
    pub fn canonical(&self, out: &mut Vec<u8>) {
        Fields::of_span(self).write(out);
    }

    /// BLAKE3 of the canonical bytes (SPAN-7).
    pub fn content_hash(&self) -> Hash {
        let mut bytes = Vec::with_capacity(1024);
        self.canonical(&mut bytes);
        Hash::of(&bytes)
    }
}

impl PartialEq for Span {
    /// Content, signature and key; what the author left out to be filled in is no part of it.
    fn eq(&self, other: &Self) -> bool {
        let canonical = |span: &Self| {
            let mut bytes = Vec::new();
            span.canonical(&mut bytes);
            bytes
        };
        self.signature == other.signature
            && self.public_key == other.public_key
            && canonical(self) == canonical(other)
    }
}

impl Eq for Span {}

impl fmt::Debug for Span {
    /// No content (SPAN-5).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Span")
            .field("id", &self.id)
            .field("seq", &self.seq.get())
            .field("entity_type", &self.entity_type.as_str())
            .finish_non_exhaustive()
    }
}
