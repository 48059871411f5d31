//! Stored messages: what a delivery says about itself, and fetching by number.

use std::time::Duration;

use async_nats::{
    HeaderMap, Message, StatusCode, header::NATS_SEQUENCE, header::NATS_SUBJECT,
    header::NATS_TIME_STAMP,
};
use bytes::Bytes;
use futures_util::StreamExt;

use crate::{Bus, Error, connection::REQUEST_TIMEOUT, error::sending};

/// Most bytes that one fetch brings: more than any single message, and far below the server's output buffer.
const FETCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// With this the server ends the answers to one request (ADR-31 of NATS).
const END_OF_BATCH: u16 = 204;

/// With this it says that it keeps nothing from the number on.
const NOT_FOUND: u16 = 404;

/// What the acknowledgement address of a delivery says (ADR-15 of NATS).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeliveryInfo {
    pub(crate) deliveries: u64,
    pub(crate) stream_seq: u64,
    pub(crate) consumer_seq: u64,
    pub(crate) time_ns: i64,
}

impl DeliveryInfo {
    pub(crate) fn of(message: &Message) -> Option<Self> {
        Self::parse(message.reply.as_deref()?)
    }

    fn parse(reply: &str) -> Option<Self> {
        let rest = reply.strip_prefix("$JS.ACK.")?;
        // Nine tokens and a random one where the server names domain and account, seven where it does not.
        let leading = if rest.split('.').count() >= 9 { 4 } else { 2 };
        let mut tokens = rest.split('.').skip(leading);
        Some(Self {
            deliveries: tokens.next()?.parse().ok()?,
            stream_seq: tokens.next()?.parse().ok()?,
            consumer_seq: tokens.next()?.parse().ok()?,
            time_ns: tokens.next()?.parse().ok()?,
        })
    }
}

/// A message fetched by its number.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) seq: u64,
    pub(crate) time_ns: i64,
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Stored {
    /// The server appends what it says about the message to the headers that the publisher wrote: the last one counts.
    pub(crate) fn of(message: Message) -> Option<Self> {
        let headers = message.headers?;
        let said = |name| headers.get_last(name).map(async_nats::HeaderValue::as_str);
        let time = chrono::DateTime::parse_from_rfc3339(said(NATS_TIME_STAMP)?).ok()?;
        Some(Self {
            seq: said(NATS_SEQUENCE)?.parse().ok()?,
            time_ns: time.timestamp_nanos_opt()?,
            subject: said(NATS_SUBJECT)?.to_owned(),
            headers,
            body: message.payload,
        })
    }
}

impl Bus {
    /// The messages of a stream from a number on, at most `count`; fewer where they are many bytes, none at its end.
    pub(crate) async fn fetch(
        &self,
        stream: &str,
        from: u64,
        count: usize,
    ) -> Result<Vec<Stored>, Error> {
        let request = serde_json::json!({
            "seq": from,
            "batch": count,
            "max_bytes": FETCH_BYTES_MAX,
        });
        self.fetch_by(stream, &request).await
    }

    /// The messages that a direct request for several brings.
    pub(crate) async fn fetch_by(
        &self,
        stream: &str,
        request: &serde_json::Value,
    ) -> Result<Vec<Stored>, Error> {
        let client = &self.inner.client;
        let inbox = client.new_inbox();
        let mut answers = client
            .subscribe(inbox.clone())
            .await
            .map_err(|source| Error::client("fetching messages")(source.into()))?;
        client
            .publish_with_reply(
                format!("$JS.API.DIRECT.GET.{stream}"),
                inbox,
                request.to_string().into(),
            )
            .await
            .map_err(sending("fetching messages"))?;
        let mut messages = Vec::new();
        loop {
            let answer = next_in(&mut answers, REQUEST_TIMEOUT).await?;
            let status = answer.status;
            let description = answer.description.clone().unwrap_or_default();
            // A publisher may have put a status on its message too, but cannot leave out the server's sequence.
            match Stored::of(answer) {
                Some(message) => messages.push(message),
                None => match status {
                    Some(StatusCode::NO_RESPONDERS) => {
                        return Err(Error::NoStream {
                            subject: stream.to_owned(),
                        });
                    }
                    // The end of the batch, or nothing at all from that number on.
                    Some(status) if [END_OF_BATCH, NOT_FOUND].contains(&status.as_u16()) => {
                        return Ok(messages);
                    }
                    _ => {
                        return Err(Error::Refused {
                            code: status.map_or(0, |status| u64::from(status.as_u16())),
                            description,
                        });
                    }
                },
            }
        }
    }
}

async fn next_in(answers: &mut async_nats::Subscriber, wait: Duration) -> Result<Message, Error> {
    tokio::time::timeout(wait, answers.next())
        .await
        .map_err(|_| Error::Timeout)?
        .ok_or(Error::Closed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_an_acknowledgement_address_are_read() {
        let wanted = DeliveryInfo {
            deliveries: 2,
            stream_seq: 7,
            consumer_seq: 9,
            time_ns: 1_700_000_000_000_000_000,
        };
        for reply in [
            "$JS.ACK.INGEST.projector-0.2.7.9.1700000000000000000.0",
            "$JS.ACK._.h4sh.INGEST.projector-0.2.7.9.1700000000000000000.0",
            "$JS.ACK.hub.h4sh.INGEST.projector-0.2.7.9.1700000000000000000.0.r4nd",
        ] {
            assert_eq!(DeliveryInfo::parse(reply), Some(wanted), "{reply}");
        }
        assert_eq!(DeliveryInfo::parse("_INBOX.x"), None);
        assert_eq!(DeliveryInfo::parse("$JS.ACK.INGEST.projector-0.2"), None);
    }
}
