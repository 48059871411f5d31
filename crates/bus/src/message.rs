//! Messages of `INGEST` as the projector sees them.

use std::{fmt, str::FromStr};

use async_nats::HeaderMap;
use bytes::Bytes;
use logline_span::{Encoding, Refusal, TraceId};
use logline_telemetry::propagation;

use crate::{Subject, header, metric, receipt};

/// The number of a message in `INGEST`. The bus may give it again after losing messages (LED-17).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IngestSeq(pub u64);

impl fmt::Display for IngestSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a publisher knows of its message: BLAKE3 of address, zero byte and body, cut to 16 bytes.
#[must_use]
pub fn message_digest(subject: &str, body: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(subject.as_bytes());
    hasher.update(&[0]);
    hasher.update(body);
    let mut digest = [0; 16];
    hasher.finalize_xof().fill(&mut digest);
    digest
}

/// What tells a message from any other that gets its number (LED-17). A publisher may say the same thing often, so that
/// the digest alone does not: with the server's time it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// Its [`message_digest`].
    pub digest: [u8; 16],
    /// When the server took it, in nanoseconds since 1970.
    pub time_ns: i64,
}

/// Names a received message for ever, as `<number>-<32 hex digits>` (`GET /api/receipts/{receipt}`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReceiptToken {
    /// Its number in `INGEST`.
    pub ingest_seq: u64,
    /// Its [`message_digest`].
    pub digest: [u8; 16],
}

impl ReceiptToken {
    /// The token of a message that was published under an address.
    #[must_use]
    pub fn new(seq: IngestSeq, subject: &Subject, body: &[u8]) -> Self {
        Self {
            ingest_seq: seq.0,
            digest: message_digest(&subject.to_string(), body),
        }
    }
}

impl fmt::Display for ReceiptToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-", self.ingest_seq)?;
        self.digest
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The text is not a [`ReceiptToken`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a receipt is a number, a hyphen and 32 hex digits")]
pub struct NotAReceiptToken;

impl FromStr for ReceiptToken {
    type Err = NotAReceiptToken;

    fn from_str(text: &str) -> Result<Self, NotAReceiptToken> {
        let (number, hex) = text.split_once('-').ok_or(NotAReceiptToken)?;
        let lower_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if hex.len() != 32 || !hex.bytes().all(lower_hex) {
            return Err(NotAReceiptToken);
        }
        let digest = u128::from_str_radix(hex, 16).map_err(|_| NotAReceiptToken)?;
        let token = Self {
            ingest_seq: number.parse().map_err(|_| NotAReceiptToken)?,
            digest: digest.to_be_bytes(),
        };
        // One text per token: no leading zero, no sign.
        (token.to_string() == text)
            .then_some(token)
            .ok_or(NotAReceiptToken)
    }
}

/// One message of `INGEST`.
#[derive(Clone)]
pub struct Incoming {
    /// Its number in the stream.
    pub seq: u64,
    /// When the server took it, in nanoseconds since 1970.
    pub time_ns: i64,
    /// The address as it was written.
    pub subject_text: String,
    /// The address, where it is one.
    pub subject: Result<Subject, Refusal>,
    /// The header `Content-Type` as it was written.
    pub content_type: Option<String>,
    /// How the body is encoded, where the header names a known form.
    pub encoding: Result<Encoding, Refusal>,
    /// The publisher's trace context, where it is well-formed (W3C Trace Context §3.2).
    pub traceparent: Option<String>,
    /// Where the receipt may be sent: an inbox that the publisher may not name is left out (BUS-2).
    pub receipt: Option<String>,
    /// Length of the chain of causes; from the system's principals alone (BUS-3).
    pub depth: Option<u16>,
    /// The bytes of the span.
    pub body: Bytes,
    /// What it takes of the stream's room, about: address, headers, body and the server's own notes.
    pub stored_bytes: u64,
    /// Whether the message lies before the wanted one: it was delivered again.
    pub again: bool,
}

impl fmt::Debug for Incoming {
    /// Without the body, which is private content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("seq", &self.seq)
            .field("subject", &self.subject_text)
            .field("bytes", &self.body.len())
            .field("again", &self.again)
            .finish_non_exhaustive()
    }
}

impl Incoming {
    /// What tells it from any other that gets its number.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint {
            digest: message_digest(&self.subject_text, &self.body),
            time_ns: self.time_ns,
        }
    }

    /// The trace that the publisher's context names.
    #[must_use]
    pub fn trace_id(&self) -> Option<TraceId> {
        propagation::trace_id(self.traceparent.as_deref()?)?
            .parse()
            .ok()
    }

    /// Whether the publisher samples its trace: the lowest bit of the flags, which follow three parts of fixed length.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        let flags = self.traceparent.as_deref().and_then(|text| {
            propagation::trace_id(text)?;
            u8::from_str_radix(text.get(53..55)?, 16).ok()
        });
        flags.is_some_and(|flags| flags & 1 == 1)
    }

    /// Reads the headers of a stored message, which anyone may have written.
    pub(crate) fn read(
        seq: u64,
        time_ns: i64,
        subject_text: String,
        headers: Option<&HeaderMap>,
        body: Bytes,
        open_inboxes: bool,
    ) -> Self {
        let text = |name: &str| {
            let value = headers.and_then(|headers| headers.get(name))?;
            Some(value.as_str().to_owned())
        };
        let stored_bytes = stored_bytes(&subject_text, headers, &body);
        let subject: Result<Subject, Refusal> = subject_text.parse();
        let content_type = text(header::CONTENT_TYPE);
        let mut receipt = text(header::RECEIPT);
        let mut depth = None;
        if let Ok(Subject::Ingest {
            tenant, principal, ..
        }) = &subject
        {
            let named = receipt.is_some();
            receipt = receipt
                .filter(|reply| receipt::allowed(reply, Some((tenant, principal)), open_inboxes));
            if named && receipt.is_none() {
                metrics::counter!(metric::RECEIPTS_IGNORED).increment(1);
            }
            if principal.is_system() {
                depth = text(header::DEPTH).and_then(|depth| depth.parse().ok());
            }
        } else {
            receipt = None;
        }
        Self {
            seq,
            time_ns,
            encoding: Encoding::from_content_type(content_type.as_deref()),
            subject,
            subject_text,
            content_type,
            traceparent: text(header::TRACEPARENT)
                .filter(|text| propagation::trace_id(text).is_some()),
            receipt,
            depth,
            body,
            stored_bytes,
            again: false,
        }
    }
}

/// The server's notes on a message take some thirty bytes, and a header line four beside its name and value.
fn stored_bytes(subject: &str, headers: Option<&HeaderMap>, body: &[u8]) -> u64 {
    const NOTES: usize = 32;
    const LINE: usize = 4;
    let lines = headers.into_iter().flat_map(HeaderMap::iter);
    let headers: usize = lines
        .flat_map(|(name, values)| values.iter().map(move |value| (name, value)))
        .map(|(name, value)| AsRef::<str>::as_ref(name).len() + value.as_str().len() + LINE)
        .sum();
    (NOTES + subject.len() + headers + body.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(traceparent: &str) -> Incoming {
        let mut headers = HeaderMap::new();
        headers.insert(header::TRACEPARENT, traceparent);
        let subject = "ingest.acme.alice.activity".to_owned();
        Incoming::read(1, 0, subject, Some(&headers), Bytes::new(), false)
    }

    #[test]
    fn a_trace_context_counts_only_where_it_is_well_formed() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        for (flags, sampled) in [("00", false), ("01", true), ("03", true)] {
            let incoming = with(&format!("00-{trace}-00f067aa0ba902b7-{flags}"));
            assert_eq!(incoming.trace_id(), trace.parse().ok());
            assert_eq!(incoming.is_sampled(), sampled);
        }
        for text in [
            format!("zz-{trace}-01"),
            format!("00-{trace}"),
            format!("ff-{trace}-00f067aa0ba902b7-01"),
            format!("00-{trace}-00f067aa0ba902b7-01-01"),
        ] {
            let incoming = with(&text);
            assert_eq!(incoming.traceparent, None, "{text}");
            assert_eq!(incoming.trace_id(), None, "{text}");
            assert!(!incoming.is_sampled(), "{text}");
        }
    }
}
