//! Publishing: every message waits for the stream's acknowledgement.

use std::time::Duration;

use async_nats::{
    HeaderMap,
    jetstream::{
        Error as ServerError, ErrorCode,
        context::{PublishError, PublishErrorKind},
        message::PublishMessage,
        publish::PublishAck,
    },
};
use bytes::Bytes;
use logline_span::Encoding;
use tracing::Instrument;

use crate::{Bus, Error, IngestSeq, Receipt, Subject, header, receipt::Place, trace};

/// A message to publish.
#[derive(Clone)]
pub struct Outgoing {
    /// The bytes of the span.
    pub body: Bytes,
    /// How they are encoded.
    pub encoding: Encoding,
    /// The trace context that it belongs to; where absent, that of the current trace span.
    pub traceparent: Option<String>,
    /// Where the receipt is wanted.
    pub receipt: Option<String>,
    /// Length of the chain of causes; counts from the system's principals alone.
    pub depth: Option<u16>,
}

/// What became of a message that was published for sealing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The projector answered.
    Receipt(Receipt),
    /// The bus has it; no answer came in the time given.
    Pending {
        /// Its number in `INGEST`.
        seq: IngestSeq,
    },
}

/// A message that the bus has, and whose receipt is on its way.
pub struct Awaited {
    /// Its number in `INGEST`.
    pub seq: IngestSeq,
    place: Place,
}

impl Awaited {
    /// Waits for the receipt. It may be lost with the connection: bound the wait, and publish again where that is harmless.
    pub async fn receipt(mut self) -> Option<Receipt> {
        (&mut self.place.receipt).await.ok()
    }
}

impl Bus {
    /// Publishes a message and waits until the bus has it.
    ///
    /// # Errors
    ///
    /// Any [`Error`]; after [`Error::Timeout`] the message may be on the bus all the same.
    pub async fn publish(&self, subject: &Subject, outgoing: Outgoing) -> Result<IngestSeq, Error> {
        let publishing = tracing::info_span!(
            "publish",
            otel.name = %format_args!("publish {}", subject.template()),
            otel.kind = "producer",
        );
        let published = async {
            let bytes = outgoing.body.len();
            let message = PublishMessage::build()
                .headers(headers(&outgoing))
                .payload(outgoing.body);
            self.send(subject.to_string(), message, bytes).await
        };
        let ack = published.instrument(publishing).await?;
        Ok(IngestSeq(ack.sequence))
    }

    /// Publishes a message for sealing and waits up to `wait` for its receipt.
    ///
    /// # Errors
    ///
    /// As for [`Bus::publish`].
    pub async fn publish_sealed(
        &self,
        subject: &Subject,
        outgoing: Outgoing,
        wait: Duration,
    ) -> Result<Answer, Error> {
        let deadline = tokio::time::Instant::now() + wait;
        let awaited = self.publish_awaited(subject, outgoing).await?;
        let seq = awaited.seq;
        match tokio::time::timeout_at(deadline, awaited.receipt()).await {
            Ok(Some(receipt)) => Ok(Answer::Receipt(receipt)),
            Ok(None) | Err(_) => Ok(Answer::Pending { seq }),
        }
    }

    /// Publishes a message for sealing and waits until the bus has it; its receipt may be awaited after that.
    ///
    /// # Errors
    ///
    /// As for [`Bus::publish`].
    pub async fn publish_awaited(
        &self,
        subject: &Subject,
        mut outgoing: Outgoing,
    ) -> Result<Awaited, Error> {
        let Subject::Ingest {
            tenant, principal, ..
        } = subject
        else {
            return Err(Error::NoReceipt {
                subject: subject.to_string(),
            });
        };
        let inbox = &self.inner.inbox;
        let place = inbox.place(&self.inner.client, tenant, principal).await?;
        outgoing.receipt = Some(place.address.clone());
        let seq = self.publish(subject, outgoing).await?;
        Ok(Awaited { seq, place })
    }

    /// Sends one message and awaits its acknowledgement; `duplicate` is a failure (BUS-3).
    pub(crate) async fn send(
        &self,
        subject: String,
        message: PublishMessage,
        bytes: usize,
    ) -> Result<PublishAck, Error> {
        let ack = self
            .inner
            .jetstream
            .send_publish(subject.clone(), message)
            .await
            .map_err(|error| failure(error, &subject, bytes))?
            .await
            .map_err(|error| failure(error, &subject, bytes))?;
        if ack.duplicate {
            return Err(Error::Duplicate);
        }
        Ok(ack)
    }
}

fn headers(outgoing: &Outgoing) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, outgoing.encoding.content_type());
    let traceparent = outgoing
        .traceparent
        .clone()
        .or_else(trace::current_traceparent);
    if let Some(traceparent) = traceparent {
        headers.insert(header::TRACEPARENT, header::value(&traceparent));
    }
    if let Some(receipt) = &outgoing.receipt {
        headers.insert(header::RECEIPT, header::value(receipt));
    }
    if let Some(depth) = outgoing.depth {
        headers.insert(header::DEPTH, depth.to_string());
    }
    headers
}

/// What a failed publish means to the caller.
pub(crate) fn failure(error: PublishError, subject: &str, bytes: usize) -> Error {
    match error.kind() {
        PublishErrorKind::StreamNotFound => Error::NoStream {
            subject: subject.to_owned(),
        },
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => Error::Timeout,
        PublishErrorKind::MaxPayloadExceeded => Error::TooLarge { bytes },
        PublishErrorKind::WrongLastMessageId
        | PublishErrorKind::WrongLastSequence
        | PublishErrorKind::MaxAckPending
        | PublishErrorKind::Other => refused(error, bytes),
    }
}

fn refused(error: PublishError, bytes: usize) -> Error {
    let server =
        std::error::Error::source(&error).and_then(|source| source.downcast_ref::<ServerError>());
    let Some(server) = server else {
        return Error::client("publishing")(error.into());
    };
    match server.error_code() {
        ErrorCode::STREAM_STORE_FAILED
        | ErrorCode::STORAGE_RESOURCES_EXCEEDED
        | ErrorCode::INSUFFICIENT_RESOURCES => Error::Full,
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM => {
            Error::TooLarge { bytes }
        }
        _ => Error::Refused {
            code: server.error_code().0,
            description: server.to_string(),
        },
    }
}
