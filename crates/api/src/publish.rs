//! `POST /api/spans`: one span, an array or NDJSON; each is checked here, published, and answered with its receipt.

mod body;
mod entry;

pub(crate) use self::entry::now;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::State as Shared,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use logline_bus::{Answer, Error, Outgoing, Quarantined, Receipt, ReceiptToken};
use logline_span::{Code, Encoding, Reader, Refusal, SpanId};
use tokio::time::Instant;

use self::{
    body::{Entries, Form},
    entry::Publication,
};
use crate::{
    access::Trace, identity::Publisher, metric, parameters::Parameters, problem::Problem,
    server::State,
};

/// Spans of one request that are on their way at once: enough to keep the bus busy, few enough to share it.
const IN_FLIGHT_MAX: usize = 256;

const NDJSON: &str = "application/x-ndjson";
const JSON: &str = "application/json";

/// The promise that the publisher waits for (BUS-5).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    Received,
    Sealed,
}

impl Wait {
    fn take(parameters: &mut Parameters) -> Result<Self, Problem> {
        match parameters.text("wait").as_deref() {
            None | Some("sealed") => Ok(Self::Sealed),
            Some("received") => Ok(Self::Received),
            Some(_) => Err(Problem::parameter("wait", "must be sealed or received")),
        }
    }
}

/// What became of one span.
enum Answered {
    /// It is sealed: the receipt as text.
    Sealed(String),
    /// The bus has it; its receipt can be asked for.
    Received {
        id: SpanId,
        token: ReceiptToken,
    },
    Refused(Refusal),
    /// The bus did not take it, or did not say so.
    Failed(Refusal),
}

/// Publishes what the body holds, as the token's principal.
pub(crate) async fn publish(
    Shared(state): Shared<Arc<State>>,
    Publisher(reader): Publisher,
    Extension(trace): Extension<Trace>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let wait = Wait::take(&mut Parameters::parse(&uri, &["wait"])?)?;
    let form = Form::of(&headers)?;
    if !state.bus.connected().borrow().up {
        return Err(Problem::new(
            Code::BusUnavailable,
            "the bus cannot be reached",
        ));
    }
    let bytes = body::read(body, form, &state.config).await?;
    let publishing = Publishing {
        state: &state,
        reader: &reader,
        trace: &trace,
        wait,
        deadline: Instant::now() + Duration::from_millis(state.config.sealed_wait_ms),
    };
    match body::entries(&bytes, form, &state.config) {
        Ok(Entries::One(bytes, encoding)) => publishing.one(bytes, encoding).await,
        Ok(Entries::Many(entries)) => publishing.many(entries, form).await,
        Err(refusal) => {
            publishing
                .quarantine(&refusal, 0, form.content_type(), bytes)
                .await;
            Err(refusal.into())
        }
    }
}

/// One request to publish.
struct Publishing<'a> {
    state: &'a State,
    reader: &'a Reader,
    trace: &'a Trace,
    wait: Wait,
    /// Until when receipts are waited for: one bound for all entries (API-4).
    deadline: Instant,
}

impl Publishing<'_> {
    async fn one(&self, bytes: Bytes, encoding: Encoding) -> Result<Response, Problem> {
        let answered = match self.prepare(bytes, encoding, 0).await {
            Ok(publication) => self.send(publication).await,
            Err(refusal) => Answered::Refused(refusal),
        };
        let json = [(header::CONTENT_TYPE, JSON)];
        match answered {
            Answered::Sealed(receipt) => Ok((StatusCode::OK, json, receipt).into_response()),
            Answered::Received { id, token } => {
                let location = [(header::LOCATION, format!("/api/receipts/{token}"))];
                let body = received(id, &token);
                Ok((StatusCode::ACCEPTED, json, location, body).into_response())
            }
            Answered::Refused(refusal) | Answered::Failed(refusal) => Err(refusal.into()),
        }
    }

    /// Entries are independent, and reach the bus in their order, so that a version may follow its predecessor.
    async fn many(
        &self,
        entries: Vec<Result<Bytes, Refusal>>,
        form: Form,
    ) -> Result<Response, Problem> {
        let mut prepared = Vec::with_capacity(entries.len());
        for (index, entry) in entries.into_iter().enumerate() {
            prepared.push(match entry {
                Ok(bytes) => self.prepare(bytes, Encoding::Json, index).await,
                Err(refusal) => Err(refusal),
            });
        }
        let sending = stream::iter(prepared)
            .map(|prepared| async {
                match prepared {
                    Ok(publication) => self.send(publication).await,
                    Err(refusal) => Answered::Refused(refusal),
                }
            })
            .buffered(IN_FLIGHT_MAX)
            .collect();
        // INVARIANT (order of entries): a future hands its message to the connection when it is first polled, and they
        // are first polled in their order. The scheduler's budget would end such a poll halfway and let others pass.
        let answers: Vec<Answered> = tokio::task::unconstrained(sending).await;
        let taken = |answered: &Answered| {
            matches!(answered, Answered::Sealed(_) | Answered::Received { .. })
        };
        if !answers.iter().any(taken)
            && let Some(Answered::Failed(refusal)) = answers
                .iter()
                .find(|answered| matches!(answered, Answered::Failed(_)))
        {
            return Err(refusal.clone().into());
        }
        let lines = answers.into_iter().map(line);
        let (content_type, text) = match form {
            Form::Ndjson => (NDJSON, lines.map(|line| line + "\n").collect::<String>()),
            Form::Json | Form::MessagePack => {
                (JSON, format!("[{}]", lines.collect::<Vec<_>>().join(",")))
            }
        };
        Ok(([(header::CONTENT_TYPE, content_type)], text).into_response())
    }

    /// Checks a span as far as it can be checked without the ledger; what is refused goes into quarantine (LED-14).
    async fn prepare(
        &self,
        bytes: Bytes,
        encoding: Encoding,
        index: usize,
    ) -> Result<Publication, Refusal> {
        let trace_id = self.trace.id().parse().ok();
        let limits = &self.state.limits;
        match Publication::new(bytes.clone(), encoding, self.reader, trace_id, limits) {
            Ok(publication) => Ok(publication),
            Err(refusal) => {
                self.quarantine(&refusal, index, encoding.content_type(), bytes)
                    .await;
                Err(refusal)
            }
        }
    }

    async fn send(&self, publication: Publication) -> Answered {
        let Publication {
            id,
            subject,
            encoding,
            body,
        } = publication;
        let outgoing = Outgoing {
            body: body.clone(),
            encoding,
            traceparent: Some(self.trace.traceparent.to_string()),
            receipt: None,
            depth: None,
        };
        let bus = &self.state.bus;
        let ingest_seq = match self.wait {
            Wait::Received => bus.publish(&subject, outgoing).await,
            Wait::Sealed => {
                let wait = self.deadline.saturating_duration_since(Instant::now());
                match bus.publish_sealed(&subject, outgoing, wait).await {
                    Ok(Answer::Receipt(receipt)) => return receipt_answer(receipt),
                    Ok(Answer::Pending { seq }) => Ok(seq),
                    Err(error) => Err(error),
                }
            }
        };
        match ingest_seq {
            Ok(ingest_seq) => Answered::Received {
                id,
                token: ReceiptToken::new(ingest_seq, &subject, &body),
            },
            Err(error) => Answered::Failed(bus_refusal(&error)),
        }
    }

    /// Keeps what was refused, once for the request and entry. The refusal stands where that fails.
    async fn quarantine(&self, refusal: &Refusal, index: usize, content_type: &str, body: Bytes) {
        metrics::counter!(metric::SPANS_REFUSED, "reason" => refusal.code.as_str()).increment(1);
        if body.len() > self.state.config.span_bytes_max {
            return;
        }
        let Reader { tenant, principal } = self.reader;
        let quarantined = Quarantined {
            tenant: Some(tenant.clone()),
            code: refusal.code,
            pointer: refusal.pointer.clone(),
            detail: refusal.detail.clone(),
            subject_text: entry::origin(tenant, principal),
            content_type: Some(content_type.to_owned()),
            key: format!("http:{}:{index}", self.trace.request_id),
            body,
        };
        if let Err(error) = self.state.bus.quarantine(&quarantined).await {
            metrics::counter!(metric::QUARANTINE_FAILED).increment(1);
            let request_id = &*self.trace.request_id;
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                request_id,
                "refused bytes were not kept"
            );
        }
    }
}

/// What a publisher is told where the bus did not take a span.
pub(crate) fn bus_refusal(error: &Error) -> Refusal {
    match error {
        Error::Full => Refusal::new(
            Code::IngestFull,
            "the bus takes no more until something is sealed",
        ),
        Error::TooLarge { .. } => {
            Refusal::new(Code::BodyTooLarge, "the span is longer than the bus takes")
        }
        error => {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "the bus did not take a span"
            );
            Refusal::new(
                Code::BusUnavailable,
                "the bus did not take the span, or did not say so",
            )
        }
    }
}

fn receipt_answer(receipt: Receipt) -> Answered {
    match receipt {
        Receipt::Sealed { .. } => Answered::Sealed(receipt.to_json()),
        Receipt::Refused(refusal) => Answered::Refused(refusal),
    }
}

/// The object of a span that the bus has and the ledger may not have yet (API-4).
pub(crate) fn received(id: SpanId, token: &ReceiptToken) -> String {
    format!(r#"{{"success":true,"level":"received","id":"{id}","receipt":"{token}"}}"#)
}

fn line(answered: Answered) -> String {
    match answered {
        Answered::Sealed(receipt) => receipt,
        Answered::Received { id, token } => received(id, &token),
        Answered::Refused(refusal) | Answered::Failed(refusal) => {
            Receipt::Refused(refusal).to_json()
        }
    }
}
