//! Quarantine: what was refused is kept, raw, with the reason (LED-14).

use async_nats::{
    HeaderMap,
    jetstream::{ErrorCode, message::PublishMessage},
};
use bytes::Bytes;
use logline_span::{Code, Hash, Refusal, TenantId, Timestamp};

use crate::{
    Bus, Error, Incoming, StreamState, Subject, header, stored::Stored, stream::QUARANTINE,
};

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

/// A refused message as it lies in quarantine.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its number there.
    pub number: u64,
    /// When it was put there.
    pub kept_at: Timestamp,
    /// The tenant of the address that it was sent to, where that names a valid one.
    pub tenant: Option<TenantId>,
    /// Why it was refused; none for a code that this release does not know.
    pub code: Option<Code>,
    /// JSON pointer of the field.
    pub pointer: String,
    /// One sentence.
    pub detail: String,
    /// The address that it was sent to.
    pub subject_text: String,
    /// Its `Content-Type`, as it came.
    pub content_type: Option<String>,
    /// The raw bytes.
    pub body: Bytes,
}

impl Kept {
    /// By which a span names the message that it stands for.
    #[must_use]
    pub fn digest(&self) -> Hash {
        Hash::of(&self.body)
    }

    fn of(stored: Stored) -> Self {
        let text = |name: &str| {
            let value = stored.headers.get(name)?;
            Some(value.as_str().to_owned())
        };
        let (tenant, code) = match stored.subject.parse() {
            Ok(Subject::Quarantine { tenant, code }) => (tenant, Some(code)),
            _ => (None, None),
        };
        Self {
            number: stored.seq,
            kept_at: Timestamp::from_nanos_truncating(stored.time_ns),
            tenant,
            code,
            pointer: text(header::POINTER).unwrap_or_default(),
            detail: text(header::DETAIL).unwrap_or_default(),
            subject_text: text(header::SUBJECT).unwrap_or_default(),
            content_type: text(header::CONTENT_TYPE),
            body: stored.body,
        }
    }
}

impl Bus {
    /// Refused messages from a number on, at most `count` and fewer where they are large; none at the end.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked.
    pub async fn quarantined(&self, from: u64, count: usize) -> Result<Vec<Kept>, Error> {
        let page = self.fetch(QUARANTINE, from.max(1), count).await?;
        Ok(page.into_iter().map(Kept::of).collect())
    }

    /// How full quarantine is.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked.
    pub async fn quarantine_state(&self) -> Result<StreamState, Error> {
        self.stream_state(QUARANTINE).await
    }

    /// Removes a refused message, of which a span tells what became; one that is gone is none the less removed.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked, or refuses.
    pub async fn remove_quarantined(&self, number: u64) -> Result<(), Error> {
        let request = serde_json::json!({ "seq": number });
        let removed: Result<Option<serde_json::Value>, Error> = self
            .ask_unless(
                format!("STREAM.MSG.DELETE.{QUARANTINE}"),
                &request,
                ErrorCode::SEQUENCE_NOT_FOUND,
            )
            .await;
        removed.map(|_| ())
    }

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
