//! A consumer that is kept alive.

use std::time::Duration;

use async_nats::{
    Client, Message,
    jetstream::{
        ErrorCode,
        consumer::{IntoConsumerConfig, pull},
    },
};
use serde_json::Value;

use crate::{
    Bus, Error, metric,
    pull::{Pull, PullSpec, Pulled},
    stream::{Holder, compare},
};

/// Longest pause between two attempts to make a consumer again.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Messages of one durable consumer.
pub(crate) struct Reader {
    bus: Bus,
    config: pull::Config,
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
        spec: PullSpec,
    ) -> Result<Self, Error> {
        ensure(bus, spec.stream, &config, true).await?;
        Ok(Self {
            bus: bus.clone(),
            config,
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
            match self.pull.next().await? {
                Pulled::Message(message) => {
                    self.failures = 0;
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
        match ensure(&self.bus, self.pull.stream(), &self.config, false).await {
            Ok(made) => {
                if made {
                    metrics::counter!(metric::CONSUMER_REBUILDS, "consumer" => consumer)
                        .increment(1);
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

/// Makes the consumer where it is missing and says so; reports settings that differ, where wished.
pub(crate) async fn ensure(
    bus: &Bus,
    stream: &str,
    config: &pull::Config,
    report: bool,
) -> Result<bool, Error> {
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
            let holder = Holder::Consumer {
                stream: stream.to_owned(),
                name,
            };
            for difference in compare(holder, &config, info.get("config").unwrap_or(&Value::Null)) {
                tracing::warn!(%difference, "consumer differs from what this release wants; left as it is");
            }
        }
        return Ok(false);
    }
    let request =
        serde_json::json!({ "stream_name": stream, "config": config, "action": "create" });
    let _: Value = bus
        .ask(format!("CONSUMER.CREATE.{stream}.{name}"), &request)
        .await?;
    Ok(true)
}
