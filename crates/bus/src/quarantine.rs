//! Quarantine: what was refused is kept, raw, with the reason (LED-14).

use async_nats::{HeaderMap, jetstream::message::PublishMessage};
use bytes::Bytes;
use logline_span::{Code, Refusal, TenantId};

use crate::{Bus, Error, Incoming, Subject, header};

/// A refused message.
#[derive(Clone)]
pub struct Quarantined {
    /// The tenant of the address, where it names a valid one.
    pub tenant: Option<TenantId>,
    /// Why it was refused.
    pub code: Code,
    /// JSON pointer of the field.
    pub pointer: String,
    /// One sentence.
    pub detail: String,
    /// The address that it was sent to.
    pub subject_text: String,
    /// Its `Content-Type`, as it came.
    pub content_type: Option<String>,
    /// What tells this refusal from every other: sent twice within the stream's window, it is kept once.
    pub key: String,
    /// The raw bytes.
    pub body: Bytes,
}

impl Quarantined {
    /// A refused message of `INGEST`, keyed by what no other message has: its number, digest and time.
    #[must_use]
    pub fn incoming(incoming: &Incoming, refusal: &Refusal) -> Self {
        let token = crate::ReceiptToken {
            ingest_seq: incoming.seq,
            digest: incoming.fingerprint().digest,
        };
        Self {
            tenant: Subject::claimed_tenant(&incoming.subject_text),
            code: refusal.code,
            pointer: refusal.pointer.clone(),
            detail: refusal.detail.clone(),
            subject_text: incoming.subject_text.clone(),
            content_type: incoming.content_type.clone(),
            key: format!("{token}-{}", incoming.time_ns),
            body: incoming.body.clone(),
        }
    }
}

impl Bus {
    /// Keeps a refused message, once per key.
    ///
    /// # Errors
    ///
    /// Any [`Error`] but [`Error::Duplicate`].
    pub async fn quarantine(&self, refused: &Quarantined) -> Result<(), Error> {
        let subject = Subject::Quarantine {
            tenant: refused.tenant.clone(),
            code: refused.code,
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::POINTER, header::value(&refused.pointer));
        headers.insert(header::DETAIL, header::value(&refused.detail));
        headers.insert(header::SUBJECT, header::value(&refused.subject_text));
        if let Some(content_type) = &refused.content_type {
            headers.insert(header::CONTENT_TYPE, header::value(content_type));
        }
        let message = PublishMessage::build()
            .headers(headers)
            .message_id(header::value(&refused.key).as_str())
            .payload(refused.body.clone());
        match self
            .send(subject.to_string(), message, refused.body.len())
            .await
        {
            Ok(_) | Err(Error::Duplicate) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
