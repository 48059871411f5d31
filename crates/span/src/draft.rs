//! What a client sent, before anything is filled in.

use std::time::Duration;

use crate::envelope::Span;
use crate::ids::{EntityType, Principal, Seq, SpanId, Status, TenantId, TraceId, Visibility};
use crate::json::Json;
use crate::refusal::{Code, Refusal};
use crate::signature::{PublicKey, Signature, SigningKey};
use crate::time::Timestamp;

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
    /// Reads one message.
    pub fn parse(bytes: &[u8], encoding: Encoding, limits: &Limits) -> Result<Self, Refusal> {
        let _ = (bytes, encoding, limits);
        todo!()
    }

    /// The draft as JSON; reading it gives the same draft.
    pub fn to_json(&self) -> String {
        todo!()
    }

    /// Checks everything that needs no ledger and fills in what is absent.
    pub fn complete(self, arrival: &Arrival<'_>, limits: &Limits) -> Result<Span, Refusal> {
        let _ = (arrival, limits);
        todo!()
    }

    /// Signs the draft, which must name `id`, `entity_type`, `at`, `trace_id`, `tenant_id` and `owner_id`.
    pub fn sign(&mut self, key: &SigningKey) -> Result<(), Refusal> {
        let _ = key;
        todo!()
    }
}
