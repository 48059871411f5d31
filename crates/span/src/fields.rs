//! The one place that knows the envelope's keys in canonical order, for spans, drafts and sealed spans alike.

use std::fmt::{Display, Write as _};

use crate::draft::Draft;
use crate::envelope::Span;
use crate::hash::Hash;
use crate::ids::{
    EntityType, Position, Principal, Seq, SpanId, Status, TenantId, TraceId, Visibility,
};
use crate::json::Json;
use crate::json::canonical;
use crate::signature::{PublicKey, Signature};
use crate::time::Timestamp;

/// Every field that can stand in an envelope; `None` is left out.
#[derive(Clone, Copy, Default)]
pub(crate) struct Fields<'a> {
    at: Option<Timestamp>,
    code: Option<&'a str>,
    content: Option<&'a Json>,
    did: Option<&'a str>,
    description: Option<&'a str>,
    duration_ms: Option<u32>,
    entity_type: Option<&'a EntityType>,
    error: Option<&'a Json>,
    id: Option<SpanId>,
    idempotency_key: Option<&'a str>,
    input: Option<&'a Json>,
    is_deleted: Option<bool>,
    language: Option<&'a str>,
    caused_by: Option<SpanId>,
    metadata: Option<&'a Json>,
    name: Option<&'a str>,
    output: Option<&'a Json>,
    owner_id: Option<&'a Principal>,
    parent_id: Option<SpanId>,
    related_to: &'a [SpanId],
    runtime: Option<&'a str>,
    seq: Option<Seq>,
    status: Option<&'a Status>,
    tenant_id: Option<&'a TenantId>,
    this: Option<&'a str>,
    trace_id: Option<TraceId>,
    visibility: Option<Visibility>,
    who: Option<&'a str>,
    proof: Proof<'a>,
}

/// What the canonical form leaves out.
#[derive(Clone, Copy, Default)]
pub(crate) struct Proof<'a> {
    pub(crate) curr_hash: Option<Hash>,
    pub(crate) position: Option<Position>,
    pub(crate) prev_hash: Option<Hash>,
    pub(crate) public_key: Option<PublicKey>,
    pub(crate) published_by: Option<&'a Principal>,
    pub(crate) received_at: Option<Timestamp>,
    pub(crate) signature: Option<Signature>,
}

impl<'a> Fields<'a> {
    /// What is hashed of a complete span.
    pub(crate) fn of_span(span: &'a Span) -> Self {
        Self {
            at: Some(span.at),
            code: span.code.as_deref(),
            content: span.content.as_ref(),
            did: span.did.as_deref(),
            description: span.description.as_deref(),
            duration_ms: span.duration_ms,
            entity_type: Some(&span.entity_type),
            error: span.error.as_ref(),
            id: Some(span.id),
            idempotency_key: span.idempotency_key.as_deref(),
            input: span.input.as_ref(),
            is_deleted: Some(span.is_deleted),
            language: span.language.as_deref(),
            caused_by: span.caused_by,
            metadata: span.metadata.as_ref(),
            name: span.name.as_deref(),
            output: span.output.as_ref(),
            owner_id: Some(&span.owner_id),
            parent_id: span.parent_id,
            related_to: &span.related_to,
            runtime: span.runtime.as_deref(),
            seq: Some(span.seq),
            status: span.status.as_ref(),
            tenant_id: Some(&span.tenant_id),
            this: Some(&span.this),
            trace_id: Some(span.trace_id),
            visibility: Some(span.visibility),
            who: Some(&span.who),
            proof: Proof::default(),
        }
    }

    /// What a draft names, and nothing else.
    pub(crate) fn of_draft(draft: &'a Draft) -> Self {
        Self {
            at: draft.at,
            code: draft.code.as_deref(),
            content: draft.content.as_ref(),
            did: draft.did.as_deref(),
            description: draft.description.as_deref(),
            duration_ms: draft.duration_ms,
            entity_type: draft.entity_type.as_ref(),
            error: draft.error.as_ref(),
            id: draft.id,
            idempotency_key: draft.idempotency_key.as_deref(),
            input: draft.input.as_ref(),
            is_deleted: draft.is_deleted,
            language: draft.language.as_deref(),
            caused_by: draft.caused_by,
            metadata: draft.metadata.as_ref(),
            name: draft.name.as_deref(),
            output: draft.output.as_ref(),
            owner_id: draft.owner_id.as_ref(),
            parent_id: draft.parent_id,
            related_to: &draft.related_to,
            runtime: draft.runtime.as_deref(),
            seq: draft.seq,
            status: draft.status.as_ref(),
            tenant_id: draft.tenant_id.as_ref(),
            this: draft.this.as_deref(),
            trace_id: draft.trace_id,
            visibility: draft.visibility,
            who: draft.who.as_deref(),
            proof: Proof::default(),
        }
    }

    /// The three fields that are always there get their defaults (SPAN-6).
    pub(crate) fn with_defaults(mut self) -> Self {
        self.seq = Some(self.seq.unwrap_or_default());
        self.visibility = Some(self.visibility.unwrap_or_default());
        self.is_deleted = Some(self.is_deleted.unwrap_or_default());
        self
    }

    /// With what the canonical form leaves out.
    pub(crate) const fn with_proof(mut self, proof: Proof<'a>) -> Self {
        self.proof = proof;
        self
    }

    /// Appends the object, keys in canonical order (all of them are ASCII, so byte order is UTF-16 order).
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let mut writer = Writer {
            out,
            separator: b'{',
        };
        writer.time("at", self.at);
        writer.text("code", self.code);
        writer.json("content", self.content);
        writer.quoted("curr_hash", self.proof.curr_hash);
        writer.text("description", self.description);
        writer.text("did", self.did);
        writer.bare("duration_ms", self.duration_ms);
        writer.plain("entity_type", self.entity_type.map(EntityType::as_str));
        writer.json("error", self.error);
        writer.id("id", self.id);
        writer.text("idempotency_key", self.idempotency_key);
        writer.json("input", self.input);
        writer.bare("is_deleted", self.is_deleted);
        writer.text("language", self.language);
        writer.links(self.caused_by);
        writer.json("metadata", self.metadata);
        writer.text("name", self.name);
        writer.json("output", self.output);
        writer.text("owner_id", self.owner_id.map(Principal::as_str));
        writer.id("parent_id", self.parent_id);
        writer.bare("position", self.proof.position);
        writer.quoted("prev_hash", self.proof.prev_hash);
        writer.quoted("public_key", self.proof.public_key);
        writer.text(
            "published_by",
            self.proof.published_by.map(Principal::as_str),
        );
        writer.time("received_at", self.proof.received_at);
        writer.ids("related_to", self.related_to);
        writer.text("runtime", self.runtime);
        writer.bare("seq", self.seq);
        writer.quoted("signature", self.proof.signature);
        writer.plain("status", self.status.map(Status::as_str));
        writer.plain("tenant_id", self.tenant_id.map(TenantId::as_str));
        writer.text("this", self.this);
        writer.quoted("trace_id", self.trace_id);
        writer.plain("visibility", self.visibility.map(Visibility::as_str));
        writer.text("who", self.who);
        writer.end();
    }

    /// The object as text.
    pub(crate) fn to_json(self) -> String {
        let mut bytes = Vec::with_capacity(1024);
        self.write(&mut bytes);
        // Everything written came from text.
        String::from_utf8(bytes).unwrap_or_default()
    }
}

struct Writer<'o> {
    out: &'o mut Vec<u8>,
    separator: u8,
}

impl Writer<'_> {
    fn key(&mut self, key: &str) {
        self.out.push(self.separator);
        self.separator = b',';
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// Text that may need escapes.
    fn text(&mut self, key: &str, text: Option<&str>) {
        let Some(text) = text else { return };
        self.key(key);
        canonical::put_text(self.out, text);
    }

    /// Text of a type whose alphabet needs no escapes.
    fn plain(&mut self, key: &str, text: Option<&str>) {
        let Some(text) = text else { return };
        self.key(key);
        self.out.push(b'"');
        self.out.extend_from_slice(text.as_bytes());
        self.out.push(b'"');
    }

    fn json(&mut self, key: &str, json: Option<&Json>) {
        let Some(json) = json else { return };
        self.key(key);
        self.out.extend_from_slice(json.as_str().as_bytes());
    }

    fn quoted(&mut self, key: &str, value: Option<impl Display>) {
        let Some(value) = value else { return };
        self.key(key);
        self.out.push(b'"');
        self.show(value);
        self.out.push(b'"');
    }

    fn id(&mut self, key: &str, id: Option<SpanId>) {
        let Some(id) = id else { return };
        self.key(key);
        self.out.push(b'"');
        self.uuid(id);
        self.out.push(b'"');
    }

    fn time(&mut self, key: &str, time: Option<Timestamp>) {
        let Some(time) = time else { return };
        self.key(key);
        self.out.push(b'"');
        match time.to_bytes() {
            Some(bytes) => self.out.extend_from_slice(&bytes),
            None => self.show(time),
        }
        self.out.push(b'"');
    }

    fn bare(&mut self, key: &str, value: Option<impl Display>) {
        let Some(value) = value else { return };
        self.key(key);
        self.show(value);
    }

    fn links(&mut self, caused_by: Option<SpanId>) {
        let Some(id) = caused_by else { return };
        self.key("links");
        self.out.extend_from_slice(b"{\"caused_by\":\"");
        self.uuid(id);
        self.out.extend_from_slice(b"\"}");
    }

    fn ids(&mut self, key: &str, ids: &[SpanId]) {
        if ids.is_empty() {
            return;
        }
        self.key(key);
        let mut separator = b'[';
        for id in ids {
            self.out.extend_from_slice(&[separator, b'"']);
            self.uuid(*id);
            self.out.push(b'"');
            separator = b',';
        }
        self.out.push(b']');
    }

    fn end(&mut self) {
        if self.separator == b'{' {
            self.out.push(b'{');
        }
        self.out.push(b'}');
    }

    fn uuid(&mut self, id: SpanId) {
        let mut digits = uuid::Uuid::encode_buffer();
        let text = id.as_uuid().hyphenated().encode_lower(&mut digits);
        self.out.extend_from_slice(text.as_bytes());
    }

    fn show(&mut self, value: impl Display) {
        // Writing into memory cannot fail.
        let _ = write!(Bytes(self.out), "{value}");
    }
}

struct Bytes<'o>(&'o mut Vec<u8>);

impl std::fmt::Write for Bytes<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
