//! Pull requests: asking a consumer for messages, holding a pin, noticing silence.
//!
//! The client library has such a loop too, but hides in it what LogLine must see: the loss of a pin, the sequence of a
//! reconnect, and when a request runs out. INVARIANT (cancel safety): a dropped future loses no message.

use std::time::Duration;

use async_nats::{Message, StatusCode, Subscriber};
use futures_util::{FutureExt, StreamExt};
use serde::Serialize;
use tokio::{sync::watch, time::Instant};

use crate::{Bus, Connection, Error, error::sending, metric, stored::DeliveryInfo};

/// How long after its last sign of life was due a consumer counts as silent.
const GRACE: Duration = Duration::from_secs(2);

/// Pause before asking again after the server turned a request down.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// Bytes that one request brings at most: what is buffered is bounded also where every message is as large as may be.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// The only priority group that is used.
pub(crate) const GROUP: &str = "one";

/// The header in which the server names the pin; the last one counts, since a publisher may have sent one too.
const PIN_ID: &str = "Nats-Pin-Id";

/// The header in which the server says how many messages a request that is over did not bring.
const PENDING: &str = "Nats-Pending-Messages";

/// How a consumer is asked.
#[derive(Clone, Debug)]
pub(crate) struct PullSpec {
    pub(crate) stream: &'static str,
    pub(crate) consumer: String,
    /// Messages per request.
    pub(crate) batch: usize,
    /// How long a request waits at the server.
    pub(crate) expires: Duration,
    /// How often the server says that it is there while a request waits; none where `expires` is short.
    pub(crate) heartbeat: Option<Duration>,
    /// Whether one client at a time is served.
    pub(crate) pinned: bool,
}

/// What came.
#[derive(Debug)]
pub(crate) enum Pulled {
    Message(Message),
    /// Another client is, or may become, the pinned one.
    PinLost,
    /// The consumer or its stream is gone.
    Gone,
    /// No sign of life in time.
    Silent,
    /// The connection was made anew: what the server remembers may have changed.
    Reconnected,
}

#[derive(Serialize)]
struct Request<'a> {
    batch: usize,
    max_bytes: usize,
    expires: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_heartbeat: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
}

/// One client of one consumer.
pub(crate) struct Pull {
    bus: Bus,
    spec: PullSpec,
    messages: Subscriber,
    inbox: String,
    /// Messages still owed by the requests that wait at the server.
    owed: usize,
    /// When the newest request has run out at the server.
    runs_out: Instant,
    /// Not to ask before.
    not_before: Option<Instant>,
    heard: Instant,
    /// When it asked last: a pin lives no longer than two requests without another one.
    asked: Instant,
    /// What the old inbox still holds was meant for whoever held the pin.
    stale: bool,
    pin: Option<String>,
    pinned: watch::Sender<bool>,
    trickle: bool,
    connection: watch::Receiver<Connection>,
    made: u64,
}

impl Pull {
    pub(crate) async fn start(bus: &Bus, spec: PullSpec) -> Result<Self, Error> {
        Self::start_pinned(bus, spec, watch::Sender::new(false)).await
    }

    /// A client that tells of its pin through a channel which outlives it.
    pub(crate) async fn start_pinned(
        bus: &Bus,
        spec: PullSpec,
        pinned: watch::Sender<bool>,
    ) -> Result<Self, Error> {
        let (inbox, messages) = subscribe(bus).await?;
        let connection = bus.connected();
        let made = connection.borrow().made;
        let now = Instant::now();
        Ok(Self {
            bus: bus.clone(),
            spec,
            messages,
            inbox,
            owed: 0,
            runs_out: now,
            not_before: None,
            heard: now,
            asked: now,
            stale: false,
            pin: None,
            pinned,
            trickle: false,
            connection,
            made,
        })
    }

    /// Whether this client holds the pin, as a signal.
    pub(crate) fn pinned(&self) -> watch::Receiver<bool> {
        self.pinned.subscribe()
    }

    pub(crate) fn stream(&self) -> &'static str {
        self.spec.stream
    }

    pub(crate) fn consumer(&self) -> &str {
        &self.spec.consumer
    }

    pub(crate) fn is_pinned(&self) -> bool {
        self.pin.is_some()
    }

    /// A message that is here already.
    pub(crate) fn ready(&mut self) -> Option<Pulled> {
        if self.pin.is_some() && self.has_overslept() {
            self.lose_pin();
            return Some(Pulled::PinLost);
        }
        // What comes over a new connection waits until the caller knows of that connection.
        if self.stale || self.connection.borrow().made != self.made {
            return None;
        }
        loop {
            match self.messages.next().now_or_never()? {
                Some(message) => {
                    if let Some(pulled) = self.sort(message) {
                        return Some(pulled);
                    }
                }
                None => return None,
            }
        }
    }

    /// Waits for what comes next, keeping a request at the server.
    pub(crate) async fn next(&mut self) -> Result<Pulled, Error> {
        loop {
            if let Some(pulled) = self.ready() {
                return Ok(pulled);
            }
            if self.stale {
                (self.inbox, self.messages) = subscribe(&self.bus).await?;
                self.forget_requests();
                self.stale = false;
            }
            let connection = *self.connection.borrow_and_update();
            if connection.made != self.made {
                self.made = connection.made;
                self.forget_requests();
                return Ok(Pulled::Reconnected);
            }
            if !connection.up {
                self.heard = Instant::now();
                let changed = self.connection.changed().await;
                changed.map_err(|_| Error::Closed)?;
                continue;
            }
            self.keep_asking().await?;
            let wake = self.wakes_at();
            tokio::select! {
                biased;
                message = self.messages.next() => {
                    let message = message.ok_or(Error::Closed)?;
                    if let Some(pulled) = self.sort(message) {
                        return Ok(pulled);
                    }
                }
                changed = self.connection.changed() => changed.map_err(|_| Error::Closed)?,
                () = tokio::time::sleep_until(wake) => {
                    if Instant::now() >= self.silent_at() {
                        self.forget_requests();
                        metrics::counter!(metric::CONSUMER_STALLS, "consumer" => self.spec.consumer.clone()).increment(1);
                        return Ok(Pulled::Silent);
                    }
                }
            }
        }
    }

    /// Whether it slept for so long that the server has given the pin to another client.
    fn has_overslept(&self) -> bool {
        Instant::now() > self.asked + 2 * self.spec.expires
    }

    /// Gives up the pin that another client waits for.
    pub(crate) async fn unpin(&mut self) -> Result<(), Error> {
        let overslept = self.has_overslept();
        if self.pin.take().is_some() {
            self.pinned.send_replace(false);
            if overslept {
                return Ok(());
            }
            let PullSpec {
                stream, consumer, ..
            } = &self.spec;
            let request = serde_json::json!({ "group": GROUP });
            let subject = format!("CONSUMER.UNPIN.{stream}.{consumer}");
            let _: serde_json::Value = self.bus.ask(subject, &request).await?;
        }
        Ok(())
    }

    /// Whether to ask for no more than what keeps the pin: one message a request.
    pub(crate) fn trickle(&mut self, trickle: bool) {
        if self.trickle != trickle {
            self.trickle = trickle;
            self.not_before = None;
        }
    }

    /// Takes the pin along to another connection.
    pub(crate) fn take_pin(&mut self) -> Option<String> {
        self.pin.take()
    }

    pub(crate) fn put_pin(&mut self, pin: Option<String>) {
        self.pin = pin;
    }

    /// Forgets what was asked, so that the next call asks anew.
    pub(crate) fn forget_requests(&mut self) {
        self.owed = 0;
        self.heard = Instant::now();
    }

    /// Keeps enough requests at the server.
    pub(crate) async fn keep_asking(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        if self.not_before.is_some_and(|not_before| now < not_before) {
            return Ok(());
        }
        self.not_before = None;
        if now >= self.runs_out {
            // The request's end was lost on the way.
            self.owed = 0;
        }
        let batch = if self.trickle { 1 } else { self.spec.batch };
        // Until the server has named the pin, a second request would be another client's.
        let nearly_done = self.owed <= batch / 2 && (!self.spec.pinned || self.is_pinned());
        if self.owed > 0 && !nearly_done {
            return Ok(());
        }
        let wanted = batch - self.owed;
        let request = Request {
            batch: wanted,
            max_bytes: BYTES_MAX,
            expires: nanos(self.spec.expires),
            idle_heartbeat: self.spec.heartbeat.map(nanos),
            group: self.spec.pinned.then_some(GROUP),
            id: self.pin.as_deref(),
        };
        // Numbers and names alone: this cannot fail.
        let body = serde_json::to_vec(&request).unwrap_or_default();
        let PullSpec {
            stream, consumer, ..
        } = &self.spec;
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
        self.bus
            .inner
            .client
            .publish_with_reply(subject, self.inbox.clone(), body.into())
            .await
            .map_err(sending("asking a consumer"))?;
        self.asked = now;
        if self.owed == 0 {
            self.heard = now;
        }
        self.owed += wanted;
        self.runs_out = now + self.spec.expires + GRACE;
        if self.trickle {
            self.not_before = Some(now + self.spec.expires);
        }
        Ok(())
    }

    fn silent_at(&self) -> Instant {
        let sign = self.spec.heartbeat.map_or(self.spec.expires, |it| 2 * it);
        self.heard + sign + GRACE
    }

    fn wakes_at(&self) -> Instant {
        self.not_before.unwrap_or_else(|| self.silent_at())
    }

    /// Takes the books forward by one message; `None` where it was a mere sign of life.
    fn sort(&mut self, message: Message) -> Option<Pulled> {
        self.heard = Instant::now();
        // A publisher may put a status on its message; only what is not a delivery is the server's word.
        let said = message
            .status
            .filter(|_| DeliveryInfo::of(&message).is_none());
        let Some(status) = said else {
            self.owed = self.owed.saturating_sub(1);
            if self.spec.pinned {
                self.note_pin(&message);
            }
            return Some(Pulled::Message(message));
        };
        match Word::of(status, &message) {
            Word::Alive => None,
            Word::Ended { missing } => {
                self.owed = self.owed.saturating_sub(missing);
                None
            }
            Word::PinTaken => {
                self.owed = 0;
                let had = self.pin.take().is_some();
                self.pinned.send_replace(false);
                if had {
                    metrics::counter!(metric::PINS_LOST, "consumer" => self.spec.consumer.clone())
                        .increment(1);
                }
                had.then_some(Pulled::PinLost)
            }
            Word::Gone => {
                self.owed = 0;
                Some(Pulled::Gone)
            }
            Word::Refused => {
                self.owed = 0;
                tracing::debug!(%status, description = ?message.description, consumer = self.spec.consumer, "pull request refused");
                self.not_before = Some(self.heard + REFUSED_PAUSE);
                None
            }
        }
    }

    fn lose_pin(&mut self) -> bool {
        self.pinned.send_replace(false);
        if self.pin.take().is_none() {
            return false;
        }
        self.stale = true;
        metrics::counter!(metric::PINS_LOST, "consumer" => self.spec.consumer.clone()).increment(1);
        true
    }

    fn note_pin(&mut self, message: &Message) {
        let id = message
            .headers
            .as_ref()
            .and_then(|headers| headers.get_last(PIN_ID));
        if let Some(id) = id
            && self.pin.as_deref() != Some(id.as_str())
        {
            if self.pin.replace(id.as_str().to_owned()).is_none() {
                metrics::counter!(metric::PINS_GAINED, "consumer" => self.spec.consumer.clone())
                    .increment(1);
            }
            self.pinned.send_replace(true);
        }
    }
}

/// What the server says of a request instead of bringing messages.
#[derive(Debug, PartialEq)]
enum Word {
    /// It waits still.
    Alive,
    /// It is over, with this many messages not brought: time ran out, or as many bytes came as were asked for.
    Ended { missing: usize },
    /// Another client holds the pin.
    PinTaken,
    /// There is no such consumer.
    Gone,
    /// It was never taken.
    Refused,
}

impl Word {
    fn of(status: StatusCode, message: &Message) -> Self {
        let missing = message
            .headers
            .as_ref()
            .and_then(|headers| headers.get_last(PENDING))
            .and_then(|pending| pending.as_str().parse().ok());
        match (status, missing) {
            (StatusCode::IDLE_HEARTBEAT, _) => Self::Alive,
            (StatusCode::PIN_ID_MISMATCH, _) => Self::PinTaken,
            (StatusCode::NO_RESPONDERS, _) => Self::Gone,
            _ if message.description.as_deref() == Some("Consumer Deleted") => Self::Gone,
            // Only a request that was taken has a rest; 409 is said of complete ones too, where they bound the bytes.
            (_, Some(missing)) => Self::Ended { missing },
            (StatusCode::TIMEOUT, None) => Self::Ended {
                missing: usize::MAX,
            },
            _ => Self::Refused,
        }
    }
}

async fn subscribe(bus: &Bus) -> Result<(String, Subscriber), Error> {
    let inbox = bus.inner.client.new_inbox();
    let messages = bus.inner.client.subscribe(inbox.clone()).await;
    let failed = |source: async_nats::SubscribeError| {
        Error::client("subscribing to a consumer")(source.into())
    };
    Ok((inbox, messages.map_err(failed)?))
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use async_nats::HeaderMap;

    use super::*;

    fn word(status: StatusCode, description: &str, pending: Option<&str>) -> Word {
        let headers = pending.map(|pending| {
            let mut headers = HeaderMap::new();
            headers.insert(PENDING, pending);
            headers
        });
        let message = Message {
            subject: "_INBOX.one".into(),
            reply: None,
            payload: bytes::Bytes::new(),
            headers,
            status: Some(status),
            description: Some(description.to_owned()),
            length: 0,
        };
        Word::of(status, &message)
    }

    #[test]
    fn a_request_that_is_over_was_not_refused() {
        let conflict = StatusCode::from_u16(409).unwrap();
        for (description, pending, expected) in [
            ("Batch Completed", Some("0"), Word::Ended { missing: 0 }),
            (
                "Message Size Exceeds MaxBytes",
                Some("12"),
                Word::Ended { missing: 12 },
            ),
            ("Exceeded MaxWaiting", None, Word::Refused),
            ("Consumer Deleted", None, Word::Gone),
        ] {
            assert_eq!(word(conflict, description, pending), expected);
        }
        let ended = word(StatusCode::TIMEOUT, "Request Timeout", Some("3"));
        assert_eq!(ended, Word::Ended { missing: 3 });
    }
}
