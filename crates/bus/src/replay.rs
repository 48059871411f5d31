//! The NATS service `logline`: what was sealed, for who may see it (BUS-6).
//!
//! Who asks is the address, which the server's permissions guard; what is shown follows from that, and nothing that the
//! request says can widen it. So no client needs a consumer of its own.

use std::time::Duration;

use async_nats::{HeaderMap, Message, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use logline_span::{Code, Reader, Refusal, Visibility};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::{
    Bus, Error, Filter, Receipt, Subject, consumer::pause, error::sending, header,
    receipt::allowed, subject::REPLAY_ROOT,
};

/// Those who answer share the requests.
const GROUP: &str = "logline";
/// Requests that are answered at the same time, each with a consumer of its own.
const PARALLEL_MAX: usize = 16;
/// Most spans in the answers to one request.
const SPANS_MAX: u64 = 1000;
/// Most bytes in the answers to one request, but for the last one: below what the server keeps for a slow client.
const BYTES_MAX: usize = 8 << 20;

/// The service, ready to answer.
///
/// Requests come over a connection of their own: malformed headers, which anyone may send, make the client library
/// drop its connection or die.
pub struct ReplayService {
    bus: Bus,
    requests: Subscriber,
}

/// Longest work on one request.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// The number of the timeline after which to begin.
    #[serde(default)]
    after: u64,
    /// Most spans wanted.
    #[serde(default = "all")]
    limit: u64,
}

fn all() -> u64 {
    SPANS_MAX
}

impl Bus {
    /// Registers the replay; it answers once [`ReplayService::run`] is awaited.
    ///
    /// # Errors
    ///
    /// Where the client cannot connect or subscribe.
    pub async fn serve_replay(&self) -> Result<ReplayService, Error> {
        Ok(ReplayService {
            bus: self.clone(),
            requests: requests(self).await?,
        })
    }
}

async fn requests(bus: &Bus) -> Result<Subscriber, Error> {
    let reader = bus.sibling("replay").await?;
    reader
        .inner
        .client
        .queue_subscribe(format!("{REPLAY_ROOT}.>"), GROUP.to_owned())
        .await
        .map_err(|source| Error::client("subscribing to requests for a replay")(source.into()))
}

impl ReplayService {
    /// Answers requests until it is told to stop, then finishes those it took.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { bus, mut requests } = self;
        let mut failures = 0;
        while !shutdown.is_cancelled() && !bus.is_closed() {
            requests
                .by_ref()
                .take_until(shutdown.cancelled())
                .for_each_concurrent(PARALLEL_MAX, |request| handle(&bus, request))
                .await;
            if shutdown.is_cancelled() {
                return;
            }
            match self::requests(&bus).await {
                Ok(made) => (requests, failures) = (made, 0),
                Err(error) => {
                    tracing::warn!(%error, "the replay cannot subscribe yet");
                    failures += 1;
                    let _ = shutdown.run_until_cancelled(pause(&bus, failures)).await;
                }
            }
        }
    }
}

async fn handle(bus: &Bus, request: Message) {
    let reader = reader(&request.subject);
    let identity = reader.as_ref().ok().map(|it| (&it.tenant, &it.principal));
    let open = bus.inner.open_inboxes;
    let reply = request.reply.as_deref();
    let Some(reply) = reply.filter(|reply| allowed(reply, identity, open)) else {
        return;
    };
    let answered = match reader.and_then(|reader| Ok((reader, wanted(&request.payload)?))) {
        Ok((reader, wanted)) => {
            let replaying = replay(bus, reply, &reader, &wanted);
            match tokio::time::timeout(PATIENCE, replaying).await {
                Ok(answered) => answered,
                Err(_) => Err(Error::Timeout),
            }
        }
        Err(refusal) => refuse(bus, reply, refusal).await,
    };
    if let Err(error) = answered {
        // Who asked sees that the answers do not end, and asks again after the last one.
        tracing::warn!(%error, "a replay is not finished");
    }
}

fn reader(subject: &str) -> Result<Reader, Refusal> {
    match subject.parse()? {
        Subject::Replay { tenant, principal } => Ok(Reader { tenant, principal }),
        Subject::Ingest { .. }
        | Subject::Timeline { .. }
        | Subject::TimerSet { .. }
        | Subject::TimerDue { .. }
        | Subject::Checkpoint { .. }
        | Subject::Quarantine { .. }
        | Subject::Publish { .. } => Err(Refusal::new(
            Code::InvalidAddress,
            "the address is not one of this service",
        )),
    }
}

fn wanted(body: &[u8]) -> Result<Wanted, Refusal> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| {
        let detail = format!(r#"wants {{"after": <number>, "limit": <number>}}: {error}"#);
        Refusal::new(Code::InvalidValue, detail)
    })
}

/// What a reader may see of the timeline, as the ledger's rule says it: none of these lies within another.
pub(crate) fn visible(reader: &Reader) -> Vec<Filter> {
    let Reader { tenant, principal } = reader;
    let filter = Filter::timeline;
    vec![
        filter()
            .tenant(tenant.clone())
            .visibility(Visibility::Private)
            .owner(principal.clone()),
        filter()
            .tenant(tenant.clone())
            .visibility(Visibility::Tenant),
        filter().visibility(Visibility::Public),
    ]
}

/// Sends the spans, each with its number, then an empty message with the number to go on after.
async fn replay(bus: &Bus, reply: &str, reader: &Reader, wanted: &Wanted) -> Result<(), Error> {
    let filters = visible(reader).iter().map(Filter::to_string).collect();
    let last = bus.timeline_last().await?;
    if wanted.after > last {
        let detail = format!("the timeline ends at {last}, before {}", wanted.after);
        return refuse(
            bus,
            reply,
            Refusal::new(Code::InvalidValue, detail).at("/after"),
        )
        .await;
    }
    let mut follower = bus.follow(filters, wanted.after, false).await?;
    let mut pending = follower.pending();
    let mut left = wanted.limit.min(SPANS_MAX);
    let (mut after, mut sent_bytes) = (wanted.after, 0);
    while pending > 0 && left > 0 && sent_bytes < BYTES_MAX {
        let (offset, message) = follower.next().await?;
        (after, pending, left) = (offset, pending - 1, left - 1);
        sent_bytes += message.payload.len();
        send(bus, reply, offset, None, message.payload).await?;
    }
    // Nothing that this reader may see lies between the last one and the end.
    let after = if pending == 0 { after.max(last) } else { after };
    send(bus, reply, after, Some(pending), Bytes::new()).await
}

async fn send(
    bus: &Bus,
    reply: &str,
    offset: u64,
    pending: Option<u64>,
    body: Bytes,
) -> Result<(), Error> {
    let mut headers = HeaderMap::new();
    headers.insert(header::OFFSET, offset.to_string());
    if let Some(pending) = pending {
        headers.insert(header::PENDING, pending.to_string());
    }
    bus.inner
        .client
        .publish_with_headers(reply.to_owned(), headers, body)
        .await
        .map_err(sending("answering a replay"))
}

async fn refuse(bus: &Bus, reply: &str, refusal: Refusal) -> Result<(), Error> {
    bus.answer(reply, &Receipt::Refused(refusal)).await
}
