//! Timers: message schedules of the bus (BUS-9). The bus wakes, the ledger decides.

mod due;

use std::time::Duration;

use async_nats::{
    HeaderMap,
    header::{
        NATS_ROLLUP, NATS_SCHEDULE, NATS_SCHEDULE_TARGET, NATS_SCHEDULE_TIME_ZONE,
        NATS_SCHEDULE_TTL,
    },
    jetstream::{consumer::pull, message::PublishMessage},
};
use bytes::Bytes;
use logline_span::{TenantId, Timestamp};
use serde_json::Value;

use crate::{
    Bus, Error, Subject, Token,
    consumer::{Reader, Verdict, config, pull_spec},
    header,
    stored::DeliveryInfo,
    stream::TIMERS,
};

/// How long a firing waits for a reader; with an older one what it repeats ends, until a newer version sets a timer.
const FIRING_TTL: &str = "168h";

/// After how long an unacknowledged firing is delivered again: what a dead reader held waits as long for the next one.
const ACK_WAIT: Duration = Duration::from_secs(5);

/// Firings that may be unacknowledged at once.
const MAX_ACK_PENDING: usize = 256;

/// When a timer fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Once, at an instant; at once where it is past.
    At(Timestamp),
    /// Again and again after a while, at least one second.
    Every(Duration),
    /// By the clock of a zone.
    Cron {
        /// Six fields, seconds first.
        expr: String,
        /// An IANA zone, such as `Europe/Berlin`; UTC where absent.
        tz: Option<String>,
    },
}

/// A timer to set; it replaces the one of the same tenant, kind and id.
#[derive(Clone)]
pub struct Timer {
    /// The tenant that it belongs to.
    pub tenant: TenantId,
    /// Which part of the system it wakes.
    pub kind: Token,
    /// Which timer of that part it is.
    pub id: Token,
    /// When it fires.
    pub schedule: Schedule,
    /// What the firing carries.
    pub body: Bytes,
    /// The trace context of what set it.
    pub traceparent: Option<String>,
}

/// The firings of one kind of timer.
pub struct TimerDeliveries {
    reader: Reader,
}

/// One firing.
pub struct TimerDelivery {
    /// The tenant of the timer.
    pub tenant: TenantId,
    /// Which part of the system it wakes.
    pub kind: Token,
    /// Which timer of that part it is.
    pub id: Token,
    /// The instant for which it was set, not that at which it fired: the same however often and late it comes.
    pub due: Timestamp,
    /// When it fires next, where it repeats.
    pub next_due: Option<Timestamp>,
    /// What the timer carries.
    pub body: Bytes,
    /// The trace context of what set it.
    pub traceparent: Option<String>,
    /// How often the firing was delivered, this time included.
    pub deliveries: u64,
    verdict: Verdict,
}

impl Bus {
    /// Sets a timer, or replaces it.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] where the server does not take the schedule.
    pub async fn set_timer(&self, timer: &Timer) -> Result<(), Error> {
        let Timer {
            tenant,
            kind,
            id,
            schedule,
            body,
            traceparent,
        } = timer;
        let set = Subject::TimerSet {
            tenant: tenant.clone(),
            kind: kind.clone(),
            id: id.clone(),
        };
        let due = Subject::TimerDue {
            tenant: tenant.clone(),
            kind: kind.clone(),
            id: id.clone(),
        };
        let mut headers = HeaderMap::new();
        headers.insert(NATS_SCHEDULE_TARGET, due.to_string());
        headers.insert(NATS_SCHEDULE_TTL, FIRING_TTL);
        // The schedule that it replaces goes, and with it the place that it took.
        headers.insert(NATS_ROLLUP, "sub");
        if let Some(traceparent) = traceparent {
            headers.insert(header::TRACEPARENT, header::value(traceparent));
        }
        // The firing keeps these headers: they say for which instant it was.
        match schedule {
            Schedule::At(at) => {
                headers.insert(NATS_SCHEDULE, format!("@at {at}"));
                headers.insert(header::DUE, at.to_string());
            }
            Schedule::Every(period) => {
                headers.insert(NATS_SCHEDULE, format!("@every {}ms", period.as_millis()));
                headers.insert(header::EVERY, period.as_millis().to_string());
            }
            Schedule::Cron { expr, tz } => {
                headers.insert(NATS_SCHEDULE, header::value(expr));
                headers.insert(header::CRON, header::value(expr));
                if let Some(zone) = tz {
                    headers.insert(NATS_SCHEDULE_TIME_ZONE, header::value(zone));
                    headers.insert(header::ZONE, header::value(zone));
                }
            }
        }
        let message = PublishMessage::build()
            .headers(headers)
            .payload(body.clone());
        self.send(set.to_string(), message, body.len()).await?;
        Ok(())
    }

    /// Cancels a timer; one that is not set is none the less cancelled. A firing that is already out still comes.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked.
    pub async fn cancel_timer(
        &self,
        tenant: &TenantId,
        kind: &Token,
        id: &Token,
    ) -> Result<(), Error> {
        let set = Subject::TimerSet {
            tenant: tenant.clone(),
            kind: kind.clone(),
            id: id.clone(),
        };
        let request = serde_json::json!({ "filter": set.to_string() });
        let _: Value = self.ask(format!("STREAM.PURGE.{TIMERS}"), &request).await?;
        Ok(())
    }

    /// Opens a durable reader of the firings of one kind.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked.
    pub async fn due(&self, durable: &'static str, kind: &Token) -> Result<TimerDeliveries, Error> {
        let filter = format!("timer.due.*.{}.*", kind.encoded());
        let config = pull::Config {
            ..config(durable, vec![filter], ACK_WAIT, MAX_ACK_PENDING, None)
        };
        let pull = pull_spec(TIMERS, durable, MAX_ACK_PENDING, None);
        let reader = Reader::open(self, config, pull).await?;
        Ok(TimerDeliveries { reader })
    }
}

impl TimerDeliveries {
    /// Waits for the next firing. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// Where the client is closed.
    pub async fn next(&mut self) -> Result<TimerDelivery, Error> {
        loop {
            let message = self.reader.next().await?;
            let Some(info) = DeliveryInfo::of(&message) else {
                continue;
            };
            let verdict = Verdict::new(&self.reader, message.reply);
            let headers = message.headers.unwrap_or_default();
            let (due, next_due) = due::instants(&headers, info.time_ns);
            let Ok(Subject::TimerDue { tenant, kind, id }) = message.subject.parse() else {
                tracing::error!(subject = %message.subject, "not a timer's address");
                verdict.give_up().await?;
                continue;
            };
            return Ok(TimerDelivery {
                tenant,
                kind,
                id,
                due,
                next_due,
                body: message.payload,
                traceparent: headers
                    .get(header::TRACEPARENT)
                    .map(|value| value.as_str().to_owned()),
                deliveries: info.deliveries,
                verdict,
            });
        }
    }
}

impl TimerDelivery {
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
}
