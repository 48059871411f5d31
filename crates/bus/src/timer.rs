//! Timers: message schedules of the bus (BUS-9).

use std::time::Duration;

use bytes::Bytes;
use logline_span::{TenantId, Timestamp};

use crate::{Bus, Error, Token};

/// When a timer fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Once, at an instant; at once where it is past.
    At(Timestamp),
    /// Again and again after a whole number of seconds, at least one.
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
pub struct TimerDeliveries {}

/// One firing.
pub struct TimerDelivery {
    /// The tenant of the timer.
    pub tenant: TenantId,
    /// Which timer of its kind it is.
    pub id: Token,
    /// The instant for which it was set, not that at which it fired.
    pub due: Timestamp,
    /// When it fires next, where it repeats.
    pub next_due: Option<Timestamp>,
    /// What the timer carries.
    pub body: Bytes,
    /// The trace context of what set it.
    pub traceparent: Option<String>,
    /// How often the firing was delivered, this time included.
    pub deliveries: u64,
}

impl Bus {
    /// Sets a timer, or replaces it.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] where the server does not take the schedule.
    pub async fn set_timer(&self, timer: &Timer) -> Result<(), Error> {
        todo!()
    }

    /// Cancels a timer; one that is not set is none the less cancelled.
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
        todo!()
    }

    /// Opens a durable reader of the firings of one kind.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked.
    pub async fn due(&self, durable: &'static str, kind: &Token) -> Result<TimerDeliveries, Error> {
        todo!()
    }
}

impl TimerDeliveries {
    /// Waits for the next firing.
    ///
    /// # Errors
    ///
    /// Where the client is closed.
    pub async fn next(&mut self) -> Result<TimerDelivery, Error> {
        todo!()
    }
}

impl TimerDelivery {
    /// Done: never deliver it again.
    ///
    /// # Errors
    ///
    /// Where the client is closed.
    pub async fn ack(&self) -> Result<(), Error> {
        todo!()
    }

    /// Not now: deliver it again after a while.
    ///
    /// # Errors
    ///
    /// Where the client is closed.
    pub async fn retry_after(&self, pause: Duration) -> Result<(), Error> {
        todo!()
    }
}
