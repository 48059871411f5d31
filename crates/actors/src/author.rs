//! Gives what the system writes its id and signature.

use bytes::Bytes;
use logline_bus::Subject;
use logline_span::{
    Arrival, Code, Draft, Encoding, Hash, Limits, PublicKey, Refusal, SigningKey, Span, SpanId,
};

use crate::written::{self, Written};
use crate::{foreign, metric};

/// Keeps the key of the ids apart from everything else that is made from the signing key.
const ID_CONTEXT: &str = "logline 2026 id of a span of the system v1";

/// The process's hand: one key for signatures, one derived from it for ids.
///
/// Ids are UUIDv7 of the span's `at`, their other bits a keyed hash of the idempotency key. So a repeat by the same
/// key names the same span, the index grows at its end, and nobody else can take the id beforehand. Another key gives
/// another id to a repeat; then the idempotency key alone holds the first one (EXE-7).
pub(crate) struct Author {
    signing_key: SigningKey,
    public_key: PublicKey,
    id_key: [u8; 32],
    limits: Limits,
}

/// A span as it goes onto the bus.
#[derive(Debug)]
pub(crate) struct Signed {
    pub(crate) span: Span,
    pub(crate) subject: Subject,
    pub(crate) body: Bytes,
}

impl Author {
    pub(crate) fn new(signing_key: SigningKey, limits: Limits) -> Self {
        // A deterministic signature that is never shown is a secret of the key's holder. No span can have this
        // content hash, so none is ever published with this signature.
        let secret = signing_key.sign_content(&Hash::of(ID_CONTEXT.as_bytes()));
        let id_key = blake3::derive_key(ID_CONTEXT, secret.as_bytes());
        Self {
            public_key: signing_key.public_key(),
            signing_key,
            id_key,
            limits,
        }
    }

    /// What breaks the rules of spans all the same is replaced by a stand-in: a span that the projector would refuse vanishes.
    pub(crate) fn sign(&self, written: Written) -> Signed {
        let mut written = written;
        written.span.id = self.id(&written.span);
        fit(&mut written.span, &self.limits);
        match check(&written, &self.limits) {
            Ok(()) => self.seal_off(written),
            Err(refusal) => self.sign_stand_in(written, &refusal),
        }
    }

    /// Signs what stands for a span that was refused.
    pub(crate) fn sign_stand_in(&self, refused: Written, refusal: &Refusal) -> Signed {
        let Refusal { code, pointer, .. } = refusal;
        let entity_type = &refused.span.entity_type;
        tracing::error!(%code, pointer, %entity_type, "a span of the system breaks the rules and is replaced");
        metrics::counter!(metric::REFUSED, "code" => code.as_str()).increment(1);
        let mut written = written::stand_in(refused, refusal);
        written.span.id = self.id(&written.span);
        self.seal_off(written)
    }

    fn seal_off(&self, written: Written) -> Signed {
        let Written {
            principal,
            mut span,
        } = written;
        span.signature = Some(self.signing_key.sign_content(&span.content_hash()));
        span.public_key = Some(self.public_key);
        let subject = Subject::ingest(&span.tenant_id, &principal, &span.entity_type);
        let body = body(&span);
        Signed {
            span,
            subject,
            body,
        }
    }

    fn id(&self, span: &Span) -> SpanId {
        let mut hasher = blake3::Hasher::new_keyed(&self.id_key);
        hasher
            .update(span.tenant_id.as_str().as_bytes())
            .update(b"\0");
        hasher.update(
            span.idempotency_key
                .as_deref()
                .unwrap_or_default()
                .as_bytes(),
        );
        let mut bits = [0; 10];
        hasher.finalize_xof().fill(&mut bits);
        let millis = u64::try_from(span.at.as_micros() / 1000).unwrap_or(0);
        SpanId::from_uuid(uuid::Builder::from_unix_timestamp_millis(millis, &bits).into_uuid())
    }
}

/// The checks that the projector makes without the ledger.
fn check(written: &Written, limits: &Limits) -> Result<(), Refusal> {
    let Written { principal, span } = written;
    let mut body = Vec::new();
    span.canonical(&mut body);
    let arrival = Arrival {
        tenant: &span.tenant_id,
        principal,
        entity_type: Some(&span.entity_type),
        // The bus's time is later than what the span speaks of.
        received_at: span.at,
        trace_id: None,
        id: span.id,
    };
    Draft::parse(&body, Encoding::Json, limits)?
        .complete(&arrival, limits)
        .map(drop)
}

/// Replaces the largest foreign content until the span as a whole obeys SPAN-2; each of them does so by itself.
fn fit(span: &mut Span, limits: &Limits) {
    let mut canonical = Vec::new();
    // Three fields hold foreign content, so the fourth look finds a span that fits.
    for _ in 0..4 {
        canonical.clear();
        span.canonical(&mut canonical);
        if canonical.len() <= limits.canonical_bytes_max {
            return;
        }
        let fields = [&mut span.input, &mut span.output, &mut span.metadata];
        let largest = fields
            .into_iter()
            .flatten()
            .max_by_key(|content| content.as_str().len());
        if let Some(content) = largest {
            *content = foreign::stand_in(content.as_str().as_bytes(), Code::TooLarge);
        }
    }
}

/// The canonical form with the proof behind it.
fn body(span: &Span) -> Bytes {
    let mut body = Vec::new();
    span.canonical(&mut body);
    if let (Some(signature), Some(public_key)) = (&span.signature, &span.public_key) {
        debug_assert_eq!(body.last(), Some(&b'}'));
        body.pop();
        body.extend_from_slice(
            format!(r#","public_key":"{public_key}","signature":"{signature}"}}"#).as_bytes(),
        );
    }
    body.into()
}

#[cfg(test)]
mod tests;
