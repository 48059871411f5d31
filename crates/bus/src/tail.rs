//! Following the timeline without a durable place in it.

use std::time::Duration;

use async_nats::{
    Message,
    jetstream::consumer::{AckPolicy, DeliverPolicy, IntoConsumerConfig, pull},
};
use futures_util::FutureExt;
use logline_span::{Refusal, Sealed, TenantId};
use serde_json::Value;

use crate::{
    Bus, Error, Filter, Subject,
    consumer::{EXPIRES, HEARTBEAT, pause},
    metric,
    pull::{Pull, PullSpec, Pulled},
    stored::DeliveryInfo,
    stream::TIMELINE,
};

/// After how long without a request the server forgets a tail's consumer.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(90);

/// Messages asked for at once: a slow client's stream buffers no more than twice as many.
const BATCH: usize = 128;

/// What tails are called in metrics.
const NAME: &str = "tail";

/// Where a tail begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what is sealed from now on.
    Latest,
    /// After a number of the timeline; 0 for everything.
    After(u64),
}

/// Sealed spans in order, as they are published, each once.
///
/// A number means the same after the timeline was lost and made again (LED-12), so what was seen is left out then too.
pub struct Tail {
    follower: Follower,
}

/// Whose chains grow, as their spans are published: one word a span, without the span.
pub struct News {
    follower: Follower,
}

/// Messages of the timeline in order, each once.
pub(crate) struct Follower {
    bus: Bus,
    filters: Vec<String>,
    headers_only: bool,
    /// The last number handed out, or begun after.
    cursor: u64,
    consumer: Option<Consumer>,
    failures: u32,
}

struct Consumer {
    bus: Bus,
    name: String,
    pull: Pull,
    /// Deliveries seen: the next one must have the number after it.
    delivered: u64,
    /// Messages that it was to bring when it was made.
    pending: u64,
}

impl Bus {
    /// Follows the timeline. Empty filters mean all of it; none of them may lie within another.
    ///
    /// # Errors
    ///
    /// [`Error::BeyondEnd`] where the timeline has not reached the number that it is to begin after; otherwise where the
    /// server cannot be asked, or refuses the filters.
    pub async fn tail(&self, filters: Vec<Filter>, start: Start) -> Result<Tail, Error> {
        let last = self.timeline_last().await?;
        let cursor = match start {
            Start::Latest => last,
            Start::After(n) if n > last => return Err(Error::BeyondEnd { last }),
            Start::After(n) => n,
        };
        let filters = filters.iter().map(Filter::to_string).collect();
        let follower = self.follow(filters, cursor, false).await?;
        Ok(Tail { follower })
    }

    /// Learns of every span that is published on the timeline from now on.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked.
    pub async fn news(&self) -> Result<News, Error> {
        let cursor = self.timeline_last().await?;
        let follower = self.follow(Vec::new(), cursor, true).await?;
        Ok(News { follower })
    }

    pub(crate) async fn follow(
        &self,
        filters: Vec<String>,
        cursor: u64,
        headers_only: bool,
    ) -> Result<Follower, Error> {
        let mut follower = Follower {
            bus: self.clone(),
            filters,
            headers_only,
            cursor,
            consumer: None,
            failures: 0,
        };
        follower.consumer = Some(follower.open().await?);
        Ok(follower)
    }
}

impl Tail {
    /// Waits for the next span and its number. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// Where the client is closed.
    pub async fn next(&mut self) -> Result<(u64, Sealed), Error> {
        loop {
            let (offset, message) = self.follower.next().await?;
            match Sealed::from_json(&message.payload) {
                Ok(sealed) => return Ok((offset, sealed)),
                Err(refusal) => unreadable(offset, &refusal),
            }
        }
    }
}

impl News {
    /// Waits until a span is published; gives its tenant. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// Where the client is closed.
    pub async fn next(&mut self) -> Result<TenantId, Error> {
        loop {
            let (offset, message) = self.follower.next().await?;
            match message.subject.parse() {
                Ok(Subject::Timeline { tenant, .. }) => return Ok(tenant),
                Ok(_) => {}
                Err(refusal) => unreadable(offset, &refusal),
            }
        }
    }
}

fn unreadable(offset: u64, refusal: &Refusal) {
    metrics::counter!(metric::UNREADABLE, "consumer" => NAME).increment(1);
    tracing::error!(offset, %refusal, "not a sealed span on the timeline");
}

impl Follower {
    /// How many messages were there to be brought when the consumer was made.
    pub(crate) fn pending(&self) -> u64 {
        self.consumer.as_ref().map_or(0, |it| it.pending)
    }

    pub(crate) async fn next(&mut self) -> Result<(u64, Message), Error> {
        loop {
            let consumer = match &mut self.consumer {
                Some(consumer) => consumer,
                None => {
                    self.reopen().await?;
                    continue;
                }
            };
            let message = match consumer.pull.next().await? {
                Pulled::Message(message) => message,
                Pulled::PinLost | Pulled::Gone | Pulled::Silent | Pulled::Reconnected => {
                    self.consumer = None;
                    continue;
                }
            };
            let Some(info) = DeliveryInfo::of(&message) else {
                continue;
            };
            if info.consumer_seq != consumer.delivered + 1 {
                self.consumer = None;
                continue;
            }
            consumer.delivered = info.consumer_seq;
            self.failures = 0;
            if info.stream_seq <= self.cursor {
                continue;
            }
            self.cursor = info.stream_seq;
            return Ok((info.stream_seq, message));
        }
    }

    async fn reopen(&mut self) -> Result<(), Error> {
        if self.failures > 0 {
            pause(&self.bus, self.failures).await;
        }
        self.failures = self.failures.saturating_add(1);
        match self.open().await {
            Ok(consumer) => {
                metrics::counter!(metric::CONSUMER_REBUILDS, "consumer" => NAME).increment(1);
                self.consumer = Some(consumer);
                Ok(())
            }
            Err(Error::Closed) => Err(Error::Closed),
            Err(error) => {
                tracing::warn!(%error, "a tail of the timeline cannot be made again yet");
                Ok(())
            }
        }
    }

    async fn open(&self) -> Result<Consumer, Error> {
        let inbox = self.bus.inner.client.new_inbox();
        let name = format!("{NAME}-{}", inbox.rsplit('.').next().unwrap_or_default());
        let config = pull::Config {
            name: Some(name.clone()),
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: self.cursor.saturating_add(1),
            },
            ack_policy: AckPolicy::None,
            filter_subjects: self.filters.clone(),
            headers_only: self.headers_only,
            inactive_threshold: FORGOTTEN_AFTER,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        }
        .into_consumer_config();
        let request =
            serde_json::json!({ "stream_name": TIMELINE, "config": config, "action": "create" });
        let made: Value = self
            .bus
            .ask(format!("CONSUMER.CREATE.{TIMELINE}.{name}"), &request)
            .await?;
        let pending = made.get("num_pending").and_then(Value::as_u64);
        let spec = PullSpec {
            stream: TIMELINE,
            consumer: name.clone(),
            batch: BATCH,
            expires: EXPIRES,
            heartbeat: Some(HEARTBEAT),
            pinned: false,
        };
        Ok(Consumer {
            bus: self.bus.clone(),
            name,
            pull: Pull::start(&self.bus, spec).await?,
            delivered: 0,
            pending: pending.unwrap_or(0),
        })
    }
}

impl Drop for Consumer {
    /// Says that the consumer is not wanted any more. Where the client's queue is full the word is not sent, and the
    /// server forgets it after [`FORGOTTEN_AFTER`].
    fn drop(&mut self) {
        let client = &self.bus.inner.client;
        let subject = format!("$JS.API.CONSUMER.DELETE.{TIMELINE}.{}", self.name);
        // Nobody listens for the answer, without which the server would not do it.
        let answer = client.new_inbox();
        let _ = client
            .publish_with_reply(subject, answer, bytes::Bytes::new())
            .now_or_never();
    }
}
