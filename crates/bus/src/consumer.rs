//! Durable readers (BUS-8): made where missing, watched, made again when silent.

mod reader;

use std::{fmt, time::Duration};

use async_nats::{
    Client,
    jetstream::{
        AckKind,
        consumer::{AckPolicy, DeliverPolicy, PriorityPolicy, pull},
    },
    subject::Subject as Address,
};
use logline_span::Sealed;

use crate::{
    Bus, Error, Filter,
    error::sending,
    header, metric,
    pull::{GROUP, PullSpec},
    stored::DeliveryInfo,
    stream::TIMELINE,
};

pub(crate) use reader::{Found, Reader, ensure, pause};

/// How long an ordinary pull request waits at the server, and how often it says that it is there meanwhile: an idle
/// reader costs three messages in thirty seconds.
pub(crate) const EXPIRES: Duration = Duration::from_secs(30);
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);

/// Messages asked for at once by a reader.
const BATCH_MAX: usize = 256;

/// Pull requests that the server lets wait on one consumer: its own default, named so that it can be compared.
const WAITING_MAX: i64 = 512;

/// What a durable reader wants.
#[derive(Clone, Debug)]
pub struct ConsumerSpec {
    /// Its name, `<crate>-<role>`: the processes that share it share the work.
    pub durable: &'static str,
    /// Which addresses of the timeline it wants; all where there is none.
    pub filters: Vec<Filter>,
    /// Messages that may be unacknowledged at once.
    pub max_ack_pending: usize,
    /// After how long an unacknowledged message is delivered again.
    pub ack_wait: Duration,
    /// How often a message is delivered before it becomes a dead letter.
    pub max_deliver: u32,
    /// How long the second and later deliveries are given before the next one, where that is more than `ack_wait`;
    /// the last one repeats. Fewer than `max_deliver`.
    pub backoff: Vec<Duration>,
    /// One process at a time; another takes over when this one was silent for so long.
    pub exclusive: Option<Duration>,
}

/// The messages of one durable reader of the timeline.
pub struct Deliveries {
    reader: Reader,
}

/// One sealed span, delivered to a durable reader.
pub struct Delivery {
    /// The span.
    pub sealed: Sealed,
    /// Its number on the timeline.
    pub offset: u64,
    /// Length of the chain of causes.
    pub depth: u16,
    /// The trace context of what led to it.
    pub traceparent: Option<String>,
    /// How often it was delivered, this time included.
    pub deliveries: u64,
    verdict: Verdict,
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("sealed", &self.sealed)
            .field("offset", &self.offset)
            .field("deliveries", &self.deliveries)
            .finish_non_exhaustive()
    }
}

impl Bus {
    /// Opens a durable reader of the timeline, making its consumer where it is missing.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked, or refuses to make the consumer.
    pub async fn consume(&self, spec: ConsumerSpec) -> Result<Deliveries, Error> {
        let filters = spec.filters.iter().map(Filter::to_string).collect();
        let backoff = spec.backoff.iter().map(|&pause| pause.max(spec.ack_wait));
        let backoff: Vec<Duration> = if spec.backoff.is_empty() {
            Vec::new()
        } else {
            std::iter::once(spec.ack_wait).chain(backoff).collect()
        };
        let config = pull::Config {
            max_deliver: i64::from(spec.max_deliver),
            backoff,
            ..config(
                spec.durable,
                filters,
                spec.ack_wait,
                spec.max_ack_pending,
                spec.exclusive,
            )
        };
        let batch = spec.max_ack_pending.clamp(1, BATCH_MAX);
        let pull = pull_spec(TIMELINE, spec.durable, batch, spec.exclusive);
        let reader = Reader::open(self, config, pull).await?;
        Ok(Deliveries { reader })
    }
}

/// The settings that all durable consumers share.
pub(crate) fn config(
    durable: &str,
    filter_subjects: Vec<String>,
    ack_wait: Duration,
    max_ack_pending: usize,
    exclusive: Option<Duration>,
) -> pull::Config {
    pull::Config {
        durable_name: Some(durable.to_owned()),
        name: Some(durable.to_owned()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait,
        max_deliver: -1,
        max_ack_pending: i64::try_from(max_ack_pending).unwrap_or(i64::MAX),
        max_waiting: WAITING_MAX,
        filter_subjects,
        priority_policy: exclusive.map_or(PriorityPolicy::None, |_| PriorityPolicy::PinnedClient),
        priority_groups: exclusive.map(|_| GROUP.to_owned()).into_iter().collect(),
        priority_timeout: exclusive.unwrap_or_default(),
        ..pull::Config::default()
    }
}

/// How long a pinned client's request waits: half of the take-over time, which is sign of life enough.
pub(crate) fn expires(take_over: Duration) -> Duration {
    take_over / 2
}

/// How a consumer is asked.
pub(crate) fn pull_spec(
    stream: &'static str,
    consumer: &str,
    batch: usize,
    exclusive: Option<Duration>,
) -> PullSpec {
    PullSpec {
        stream,
        consumer: consumer.to_owned(),
        batch,
        expires: exclusive.map_or(EXPIRES, expires),
        heartbeat: exclusive.is_none().then_some(HEARTBEAT),
        pinned: exclusive.is_some(),
    }
}

impl Deliveries {
    /// Waits for the next message. A silent consumer is made again. Dropping the future loses nothing.
    ///
    /// An exclusive reader holds its pin by waiting here, so it should always do so: `max_ack_pending` bounds what it is
    /// given before it has acknowledged. First deliveries come in order; what is delivered again, after a take-over too,
    /// comes in whatever order it fell due.
    ///
    /// # Errors
    ///
    /// [`Error::PinLost`] once another process may have taken over; the next call waits for the pin again.
    pub async fn next(&mut self) -> Result<Delivery, Error> {
        loop {
            let message = self.reader.next().await?;
            let Some(info) = DeliveryInfo::of(&message) else {
                continue;
            };
            let verdict = Verdict::new(&self.reader, message.reply);
            let sealed = match Sealed::from_json(&message.payload) {
                Ok(sealed) => sealed,
                Err(refusal) => {
                    let consumer = self.reader.name().to_owned();
                    tracing::error!(offset = info.stream_seq, consumer, %refusal, "not a sealed span on the timeline");
                    metrics::counter!(metric::UNREADABLE, "consumer" => consumer).increment(1);
                    verdict.give_up().await?;
                    continue;
                }
            };
            let text = |name: &str| {
                let value = message.headers.as_ref()?.get(name)?;
                Some(value.as_str().to_owned())
            };
            return Ok(Delivery {
                sealed,
                offset: info.stream_seq,
                depth: text(header::DEPTH)
                    .and_then(|depth| depth.parse().ok())
                    .unwrap_or(0),
                traceparent: text(header::TRACEPARENT),
                deliveries: info.deliveries,
                verdict,
            });
        }
    }

    /// Resolves when the pin of an exclusive reader is lost (at once where it is not held).
    pub fn released(&self) -> impl Future<Output = ()> + Send + use<> {
        self.reader.released()
    }

    /// Gives the pin up, so that another process need not wait for it to run out.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked.
    pub async fn release(mut self) -> Result<(), Error> {
        self.reader.release().await
    }
}

impl Delivery {
    /// Done: never deliver it again.
    ///
    /// # Errors
    ///
    /// Where the client is closed.
    pub async fn ack(&self) -> Result<(), Error> {
        self.verdict.ack().await
    }

    /// Not now: deliver it again after a while.
    ///
    /// # Errors
    ///
    /// Where the client is closed.
    pub async fn retry_after(&self, pause: Duration) -> Result<(), Error> {
        self.verdict.retry_after(pause).await
    }

    /// Still at it: start `ack_wait` anew.
    ///
    /// # Errors
    ///
    /// Where the client is closed.
    pub async fn in_progress(&self) -> Result<(), Error> {
        self.verdict.in_progress().await
    }

    /// Never: it becomes a dead letter.
    ///
    /// # Errors
    ///
    /// Where the client is closed.
    pub async fn give_up(&self) -> Result<(), Error> {
        self.verdict.give_up().await
    }
}

/// What a reader says about a delivery. It is sent, not confirmed: one that is lost leads to another delivery.
pub(crate) struct Verdict {
    client: Client,
    reply: Option<Address>,
}

impl Verdict {
    pub(crate) fn new(reader: &Reader, reply: Option<Address>) -> Self {
        Self {
            client: reader.client().clone(),
            reply,
        }
    }

    pub(crate) async fn ack(&self) -> Result<(), Error> {
        self.say(AckKind::Ack).await
    }

    pub(crate) async fn retry_after(&self, pause: Duration) -> Result<(), Error> {
        // Without a pause it is queued at once and in its place; with one, however short, new messages go before it.
        let pause = (!pause.is_zero()).then_some(pause);
        self.say(AckKind::Nak(pause)).await
    }

    pub(crate) async fn in_progress(&self) -> Result<(), Error> {
        self.say(AckKind::Progress).await
    }

    pub(crate) async fn give_up(&self) -> Result<(), Error> {
        self.say(AckKind::Term).await
    }

    async fn say(&self, kind: AckKind) -> Result<(), Error> {
        let Some(reply) = self.reply.clone() else {
            return Ok(());
        };
        self.client
            .publish(reply, kind.into())
            .await
            .map_err(sending("acknowledging"))
    }
}
