//! Appending to the timeline: the n-th sealed span is its message n (LED-12).

use std::{collections::VecDeque, future::IntoFuture};

use async_nats::{
    HeaderMap,
    jetstream::{
        context::{PublishAckFuture, PublishErrorKind},
        message::PublishMessage,
    },
};
use bytes::Bytes;
use logline_span::Sealed;
use serde_json::Value;

use crate::{
    AppendError, Bus, Error, StreamState, Subject, header, publish::failure, stream::TIMELINE,
};

/// Publishes on their way at once: enough to hide the round trip, few enough for the server's queues.
const WINDOW: usize = 512;

/// One sealed span for the timeline.
#[derive(Clone)]
pub struct TimelineEntry {
    /// Its address.
    pub subject: Subject,
    /// [`Sealed::to_json`].
    pub body: Bytes,
    /// The trace context of the message that it was sealed from.
    pub traceparent: Option<String>,
    /// Length of the chain of causes.
    pub depth: u16,
}

/// A message of the timeline, whoever put it there.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its number.
    pub number: u64,
    /// The address that it was published to.
    pub subject: String,
    /// Its bytes.
    pub body: Bytes,
    /// Length of the chain of causes that led to the span; 0 where the message does not say.
    pub depth: u16,
}

impl Bus {
    /// The messages of the timeline from a number on, at most `count` and fewer where they are large; none at its end.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked.
    pub async fn timeline_page(&self, from: u64, count: usize) -> Result<Vec<Told>, Error> {
        let page = self.fetch(TIMELINE, from, count).await?;
        let told = page.into_iter().map(|stored| {
            let depth = stored.headers.get(header::DEPTH);
            Told {
                number: stored.seq,
                depth: depth.and_then(|it| it.as_str().parse().ok()).unwrap_or(0),
                subject: stored.subject,
                body: stored.body,
            }
        });
        Ok(told.collect())
    }

    /// How full the timeline is.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked.
    pub async fn timeline_state(&self) -> Result<StreamState, Error> {
        self.stream_state(TIMELINE).await
    }

    /// Throws the timeline away and makes it anew, empty: for an operator who fills it again from the ledger (LED-15). Its
    /// consumers go with it; their readers make them again where they were.
    ///
    /// # Errors
    ///
    /// Where the server refuses, or cannot be asked.
    pub async fn remake_timeline(&self) -> Result<(), Error> {
        let _: Value = self.ask(format!("STREAM.DELETE.{TIMELINE}"), &()).await?;
        self.migrate().await?;
        Ok(())
    }

    /// Number of the last message of the timeline; 0 where it never held any.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked.
    pub async fn timeline_last(&self) -> Result<u64, Error> {
        Ok(self.stream_state(TIMELINE).await?.last)
    }

    /// One message of the timeline; none below its first and beyond its last.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked, or the message does not read as a sealed span.
    pub async fn timeline_at(&self, n: u64) -> Result<Option<Sealed>, Error> {
        let found = self.fetch(TIMELINE, n, 1).await?;
        let Some(stored) = found.into_iter().find(|stored| stored.seq == n) else {
            // A replica may lag behind: only the leader's word says that it is not kept.
            let state = self.stream_state(TIMELINE).await?;
            return if (state.first..=state.last).contains(&n) {
                Err(Error::Missing {
                    seq: n,
                    first: state.first,
                    last: state.last,
                })
            } else {
                Ok(None)
            };
        };
        Sealed::from_json(&stored.body)
            .map(Some)
            .map_err(|refusal| Error::client("reading the timeline")(refusal.into()))
    }

    /// Appends sealed spans as the messages `first`, `first + 1` and so on, all acknowledged on return.
    ///
    /// # Errors
    ///
    /// [`AppendError::Behind`] and [`AppendError::Stale`] where the timeline does not end at `first - 1`: go on from
    /// `last + 1`. After [`AppendError::Bus`] the first entries may be there; trying again says which.
    pub async fn timeline_append(
        &self,
        first: u64,
        entries: &[TimelineEntry],
    ) -> Result<(), AppendError> {
        let mut acks = VecDeque::with_capacity(WINDOW.min(entries.len()));
        let mut failed = None;
        for (n, entry) in (first..).zip(entries) {
            if acks.len() == WINDOW
                && let Some(oldest) = acks.pop_front()
                && let Err(error) = acknowledged(oldest).await
            {
                failed = Some(error);
                break;
            }
            let subject = entry.subject.to_string();
            let message = PublishMessage::build()
                .payload(entry.body.clone())
                .headers(headers(entry))
                .expected_last_sequence(n.saturating_sub(1));
            let sent = self.inner.jetstream.send_publish(subject.clone(), message);
            match sent.await {
                Ok(ack) => acks.push_back(Ack {
                    n,
                    subject,
                    bytes: entry.body.len(),
                    ack,
                }),
                Err(error) => {
                    failed = Some(Failed::Bus(failure(error, &subject, entry.body.len())));
                    break;
                }
            }
        }
        // The acknowledgements that are still out come before a failure to send, and tell more.
        for ack in acks {
            if let Err(error) = acknowledged(ack).await {
                if !matches!(failed, Some(Failed::WrongLast { .. })) {
                    failed = Some(error);
                }
                break;
            }
        }
        match failed {
            None => Ok(()),
            Some(Failed::Bus(error)) => Err(AppendError::Bus(error)),
            Some(Failed::WrongLast { n }) => {
                let last = self.timeline_last().await?;
                Err(if last >= n {
                    AppendError::Stale { last }
                } else {
                    AppendError::Behind { last }
                })
            }
        }
    }
}

/// A publish that is on its way.
struct Ack {
    n: u64,
    subject: String,
    bytes: usize,
    ack: PublishAckFuture,
}

/// The first failure of an append: everything behind it fails too, since it expects a number that never comes.
enum Failed {
    WrongLast { n: u64 },
    Bus(Error),
}

async fn acknowledged(sent: Ack) -> Result<(), Failed> {
    match sent.ack.into_future().await {
        // The server has compared the number, so only a message taken for a duplicate could be elsewhere.
        Ok(ack) if ack.sequence == sent.n && !ack.duplicate => Ok(()),
        Ok(_) => Err(Failed::Bus(Error::Duplicate)),
        Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {
            Err(Failed::WrongLast { n: sent.n })
        }
        Err(error) => Err(Failed::Bus(failure(error, &sent.subject, sent.bytes))),
    }
}

fn headers(entry: &TimelineEntry) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::DEPTH, entry.depth.to_string());
    if let Some(traceparent) = &entry.traceparent {
        headers.insert(header::TRACEPARENT, header::value(traceparent));
    }
    headers
}
