//! What a client sent, before anything is filled in.

mod complete;
pub(crate) mod read;

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use crate::fields::{Fields, Proof};
use crate::hash::Hash;
use crate::ids::{EntityType, Principal, Seq, SpanId, Status, TenantId, TraceId, Visibility};
use crate::json::Json;
use crate::refusal::{Code, Refusal};
use crate::signature::{PublicKey, Signature, SigningKey};
use crate::time::Timestamp;
use read::Ledger;

/// Most ids in `related_to`: each becomes an edge of its own in the ledger.
pub const RELATED_MAX: usize = 1000;
/// Longest `who`, `did`, `name`, `language`, `runtime` and `idempotency_key`, in characters: they are indexed, or
/// may be, and an index entry of Postgres ends at 2704 bytes.
pub const TEXT_CHARS_MAX: usize = 256;

/// How a message is encoded (SPAN-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// RFC 8259 JSON.
    Json,
    /// MessagePack with text keys.
    MessagePack,
}

impl Encoding {
    /// What a `Content-Type` header says; JSON where there is none. Parameters are ignored.
    pub fn from_content_type(header: Option<&str>) -> Result<Self, Refusal> {
        let media = header
            .unwrap_or_default()
            .split(';')
            .next()
            .unwrap_or_default()
            .trim();
        let is = |name: &str| media.eq_ignore_ascii_case(name);
        if media.is_empty() || is("application/json") {
            Ok(Self::Json)
        } else if is("application/msgpack") {
            Ok(Self::MessagePack)
        } else {
            Err(Refusal::new(
                Code::UnsupportedEncoding,
                "the content type must be application/json or application/msgpack",
            ))
        }
    }

    /// The media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::MessagePack => "application/msgpack",
        }
    }
}

/// Bounds that a configuration may move (SPAN-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest canonical form.
    pub canonical_bytes_max: usize,
    /// Deepest nesting, the envelope being level 1; at most [`Limits::DEPTH_CEILING`].
    pub depth_max: usize,
    /// How far `at` may lie after `received_at`.
    pub future_max: Duration,
}

impl Limits {
    /// What the specification says where a configuration is silent.
    pub const STANDARD: Self = Self {
        canonical_bytes_max: 256 * 1024,
        depth_max: 64,
        future_max: Duration::from_secs(5 * 60),
    };
    /// The JSON reader's own limit is 128 levels.
    pub const DEPTH_CEILING: usize = 127;
}

/// A span as a client sent it: every field optional, each valid by itself.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Draft {
    /// `id`
    pub id: Option<SpanId>,
    /// `seq`
    pub seq: Option<Seq>,
    /// `entity_type`
    pub entity_type: Option<EntityType>,
    /// `who`
    pub who: Option<String>,
    /// `did`
    pub did: Option<String>,
    /// `this`
    pub this: Option<String>,
    /// `at`
    pub at: Option<Timestamp>,
    /// `parent_id`
    pub parent_id: Option<SpanId>,
    /// `related_to`
    pub related_to: Vec<SpanId>,
    /// `links.caused_by`
    pub caused_by: Option<SpanId>,
    /// `trace_id`
    pub trace_id: Option<TraceId>,
    /// `owner_id`
    pub owner_id: Option<Principal>,
    /// `tenant_id`
    pub tenant_id: Option<TenantId>,
    /// `visibility`
    pub visibility: Option<Visibility>,
    /// `status`
    pub status: Option<Status>,
    /// `is_deleted`
    pub is_deleted: Option<bool>,
    /// `name`
    pub name: Option<String>,
    /// `description`
    pub description: Option<String>,
    /// `code`
    pub code: Option<String>,
    /// `language`
    pub language: Option<String>,
    /// `runtime`
    pub runtime: Option<String>,
    /// `input`
    pub input: Option<Json>,
    /// `output`
    pub output: Option<Json>,
    /// `error`
    pub error: Option<Json>,
    /// `content`
    pub content: Option<Json>,
    /// `metadata`
    pub metadata: Option<Json>,
    /// `duration_ms`
    pub duration_ms: Option<u32>,
    /// `idempotency_key`
    pub idempotency_key: Option<String>,
    /// `signature`
    pub signature: Option<Signature>,
    /// `public_key`
    pub public_key: Option<PublicKey>,
    /// Pointer of the first of `id`, `at`, `trace_id` that was not sent in its canonical text; a signed span may have none.
    pub loose: Option<&'static str>,
}

/// What is known about a message beside its body (BUS-1).
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Tenant of the address or token.
    pub tenant: &'a TenantId,
    /// Principal of the address or token.
    pub principal: &'a Principal,
    /// Type of the address, where it has one.
    pub entity_type: Option<&'a EntityType>,
    /// The bus message's time.
    pub received_at: Timestamp,
    /// Trace id of the `traceparent` header.
    pub trace_id: Option<TraceId>,
    /// Used where the draft names none.
    pub id: SpanId,
}

impl Draft {
    /// Reads one message; each field that is there is valid by itself.
    ///
    /// ```
    /// use logline_span::{Code, Draft, Encoding, Limits};
    /// let parse = |body: &str| Draft::parse(body.as_bytes(), Encoding::Json, &Limits::STANDARD);
    /// assert_eq!(parse(r#"{"who":"alice","this":"door"}"#).unwrap().who.as_deref(), Some("alice"));
    ///
    /// let refusal = parse(r#"{"metadata":{"a":[1,{"b":9007199254740993}]}}"#).unwrap_err();
    /// assert_eq!((refusal.code, refusal.pointer.as_str()), (Code::UnsafeNumber, "/metadata/a/1/b"));
    /// ```
    pub fn parse(bytes: &[u8], encoding: Encoding, limits: &Limits) -> Result<Self, Refusal> {
        read::read(bytes, encoding, limits.depth_max, Ledger::Refused).map(|(draft, _)| draft)
    }

    /// The draft as JSON in canonical texts; reading it gives the same draft, with nothing `loose`.
    pub fn to_json(&self) -> String {
        let proof = Proof {
            signature: self.signature,
            public_key: self.public_key,
            ..Proof::default()
        };
        Fields::of_draft(self).with_proof(proof).to_json()
    }

    /// The canonical bytes of what the draft names, with the three defaults that are always there (SPAN-6).
    ///
    /// They are those of the sealed span only where the draft names everything that would be filled in.
    pub fn canonical(&self, out: &mut Vec<u8>) {
        Fields::of_draft(self).with_defaults().write(out);
    }

    /// BLAKE3 of [`Draft::canonical`].
    pub fn content_hash(&self) -> Hash {
        let mut bytes = Vec::with_capacity(1024);
        self.canonical(&mut bytes);
        Hash::of(&bytes)
    }

    /// Signs the draft (SPAN-7), which must name all that is filled in otherwise:
    /// `id`, `entity_type`, `at`, `trace_id`, `tenant_id` and `owner_id`.
    pub fn sign(&mut self, key: &SigningKey) -> Result<(), Refusal> {
        self.check_bounds()?;
        self.loose = None;
        self.check_nothing_to_fill_in()?;
        self.signature = Some(key.sign_content(&self.content_hash()));
        self.public_key = Some(key.public_key());
        Ok(())
    }
}

impl fmt::Debug for Draft {
    /// No content (SPAN-5).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft")
            .field("id", &self.id)
            .field("seq", &self.seq)
            .field("entity_type", &self.entity_type)
            .finish_non_exhaustive()
    }
}
