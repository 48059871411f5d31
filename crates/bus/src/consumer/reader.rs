//! A consumer that is kept alive.

use std::time::Duration;

use async_nats::{
    Client, Message,
    jetstream::{
        ErrorCode,
        consumer::{DeliverPolicy, IntoConsumerConfig, pull},
    },
};
use serde_json::Value;

use crate::{
    Bus, Error, metric,
    pull::{Pull, PullSpec, Pulled},
    stream::{Holder, TIMELINE, compare},
};

use super::expires;

/// Longest pause between two attempts to make a consumer again.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Messages between two looks at how far the consumer is acknowledged.
const LOOK_AFTER: u32 = 256;

/// Messages of one durable consumer.
pub(crate) struct Reader {
    bus: Bus,
    config: pull::Config,
    /// Up to here everything was acknowledged, by all who share the consumer, when it was last looked at. A consumer of
    /// the timeline that is lost goes on behind it: those numbers stay the same for ever (LED-12).
    acknowledged: u64,
    /// Messages since then.
    unlooked: u32,
    pull: Pull,
    /// The consumer must be looked at before the next message.
    doubtful: bool,
    /// Attempts to make it again that failed in a row.
    failures: u32,
}

impl Reader {
    pub(crate) async fn open(
        bus: &Bus,
        config: pull::Config,
        mut spec: PullSpec,
    ) -> Result<Self, Error> {
        let acknowledged = match ensure(bus, spec.stream, &config, true).await? {
            Found::Made => 0,
            Found::There {
                acknowledged,
                take_over,
            } => {
                spec.expires = take_over.map_or(spec.expires, expires);
                acknowledged
            }
        };
        Ok(Self {
            bus: bus.clone(),
            config,
            acknowledged,
            unlooked: 0,
            pull: Pull::start(bus, spec).await?,
            doubtful: false,
            failures: 0,
        })
    }

    /// The next message, whatever it takes.
    pub(crate) async fn next(&mut self) -> Result<Message, Error> {
        loop {
            if self.doubtful {
                self.rebuild().await?;
            }
            // Before a message is taken, so that a dropped future loses none.
            self.look().await;
            match self.pull.next().await? {
                Pulled::Message(message) => {
                    self.failures = 0;
                    self.unlooked = self.unlooked.saturating_add(1);
                    return Ok(message);
                }
                Pulled::PinLost => return Err(Error::PinLost),
                Pulled::Gone | Pulled::Silent | Pulled::Reconnected => self.doubtful = true,
            }
        }
    }

    async fn rebuild(&mut self) -> Result<(), Error> {
        let consumer = self.name().to_owned();
        if self.failures > 0 {
            pause(&self.bus, self.failures).await;
        }
        match ensure(&self.bus, self.pull.stream(), &self.again(), false).await {
            Ok(found) => {
                match found {
                    Found::Made => {
                        metrics::counter!(metric::CONSUMER_REBUILDS, "consumer" => consumer)
                            .increment(1);
                    }
                    Found::There { acknowledged, .. } => self.acknowledged = acknowledged,
                }
                self.pull.forget_requests();
                self.doubtful = false;
                // Should it fall silent again at once, the pauses grow; a message resets them.
                self.failures = self.failures.saturating_add(1);
                Ok(())
            }
            Err(Error::Closed) => Err(Error::Closed),
            Err(error) => {
                tracing::warn!(consumer, %error, "consumer is silent or gone and cannot be made again yet");
                self.failures = self.failures.saturating_add(1);
                Ok(())
            }
        }
    }

    /// How the consumer is made again.
    fn again(&self) -> pull::Config {
        let mut config = self.config.clone();
        if self.pull.stream() == TIMELINE && self.acknowledged > 0 {
            config.deliver_policy = DeliverPolicy::ByStartSequence {
                start_sequence: self.acknowledged.saturating_add(1),
            };
        }
        config
    }

    /// Notes now and then how far the consumer is. A failure leaves what was known, which is less.
    async fn look(&mut self) {
        let is_up = self.bus.connected().borrow().up;
        if self.unlooked < LOOK_AFTER || self.pull.stream() != TIMELINE || !is_up {
            return;
        }
        self.unlooked = 0;
        let subject = format!("CONSUMER.INFO.{TIMELINE}.{}", self.name());
        if let Ok(info) = self.bus.ask::<Value>(subject, &()).await {
            self.acknowledged = acknowledged(&info);
        }
    }

    pub(crate) fn name(&self) -> &str {
        self.pull.consumer()
    }

    pub(crate) fn client(&self) -> &Client {
        &self.bus.inner.client
    }

    pub(crate) fn released(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut pinned = self.pull.pinned();
        async move {
            // The sender goes with the reader, and the pin with it.
            let _ = pinned.wait_for(|pinned| !pinned).await;
        }
    }

    pub(crate) async fn release(&mut self) -> Result<(), Error> {
        self.pull.unpin().await
    }
}

/// Waits before another attempt: longer each time, and not past a change of the connection.
pub(crate) async fn pause(bus: &Bus, failures: u32) {
    let pause = Duration::from_millis(50)
        .saturating_mul(2_u32.saturating_pow(failures.min(8)))
        .min(PAUSE_MAX);
    let mut connection = bus.connected();
    connection.mark_unchanged();
    let _ = tokio::time::timeout(pause, connection.changed()).await;
}

/// What was found in a consumer's place.
pub(crate) enum Found {
    /// Nothing; it was made.
    Made,
    /// The consumer.
    There {
        /// Everything up to this number of the stream is acknowledged.
        acknowledged: u64,
        /// How long it lets a pinned client be silent, whatever this process was configured with.
        take_over: Option<Duration>,
    },
}

impl Found {
    pub(crate) fn is_made(&self) -> bool {
        match self {
            Self::Made => true,
            Self::There { .. } => false,
        }
    }
}

/// Makes the consumer where it is missing and says so; reports settings that differ, where wished.
pub(crate) async fn ensure(
    bus: &Bus,
    stream: &str,
    config: &pull::Config,
    report: bool,
) -> Result<Found, Error> {
    let name = config.name.clone().unwrap_or_default();
    let config = config.clone().into_consumer_config();
    let info: Option<Value> = bus
        .ask_unless(
            format!("CONSUMER.INFO.{stream}.{name}"),
            &(),
            ErrorCode::CONSUMER_NOT_FOUND,
        )
        .await?;
    if let Some(info) = info {
        if report {
            // Where it once began, or began again, is no matter.
            let begins = ["deliver_policy", "opt_start_seq"];
            let holder = Holder::Consumer {
                stream: stream.to_owned(),
                name,
            };
            let found = info.get("config").unwrap_or(&Value::Null);
            for difference in compare(holder, &config, found)
                .into_iter()
                .filter(|it| !begins.contains(&it.setting.as_str()))
            {
                tracing::warn!(%difference, "consumer differs from what this release wants; left as it is");
            }
        }
        let take_over = info.pointer("/config/priority_timeout");
        let take_over = take_over.and_then(Value::as_u64).filter(|&nanos| nanos > 0);
        return Ok(Found::There {
            acknowledged: acknowledged(&info),
            take_over: take_over.map(Duration::from_nanos),
        });
    }
    let request =
        serde_json::json!({ "stream_name": stream, "config": config, "action": "create" });
    let _: Value = bus
        .ask(format!("CONSUMER.CREATE.{stream}.{name}"), &request)
        .await?;
    Ok(Found::Made)
}

/// The number of the stream up to which a consumer's information says that everything is acknowledged.
fn acknowledged(info: &Value) -> u64 {
    info.pointer("/ack_floor/stream_seq")
        .and_then(Value::as_u64)
        .unwrap_or(0)
}
