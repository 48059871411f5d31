//! The projector's intake: `INGEST` in order, without gaps, for one process at a time.

use std::{convert::Infallible, time::Duration};

use crate::{Bus, Error, Incoming};

/// How the intake behaves.
#[derive(Clone, Copy, Debug)]
pub struct IntakeConfig {
    /// How long a process may be silent before another takes over.
    pub take_over: Duration,
    /// After how long an unacknowledged message is delivered again.
    pub ack_wait: Duration,
    /// Messages that may be unacknowledged at once.
    pub max_ack_pending: usize,
    /// Messages asked for at once.
    pub batch_max: usize,
}

/// The messages of `INGEST` for the one process that holds the pin.
pub struct Intake {}

/// Acknowledges what the intake handed out; clones share it.
#[derive(Clone)]
pub struct Acker {}

impl Acker {
    /// Acknowledges every message up to a number.
    ///
    /// # Errors
    ///
    /// Where the client is closed.
    pub async fn ack_through(&self, seq: u64) -> Result<(), Error> {
        todo!()
    }
}

impl Bus {
    /// Opens the intake, making its consumer where it is missing.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked.
    pub async fn intake(&self, config: IntakeConfig) -> Result<Intake, Error> {
        todo!()
    }

    /// One message of `INGEST`, where it is still kept.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked.
    pub async fn ingest_at(&self, seq: u64) -> Result<Option<Incoming>, Error> {
        todo!()
    }
}

impl Intake {
    /// Waits until this process may seal: it holds the pin, or nobody does. Only then should it fence the ledger.
    ///
    /// # Errors
    ///
    /// Where the client is closed.
    pub async fn claim(&mut self) -> Result<(), Error> {
        todo!()
    }

    /// Waits for messages and hands out up to `max`, from the wanted number `from` on.
    ///
    /// It returns as soon as there is one and `linger` has passed since, with everything already buffered. Messages
    /// below `from` that an earlier life of this process was given come flagged `again`; numbers that are
    /// missing in between were purged. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// [`Error::PinLost`] once another process has taken over: [`Intake::claim`] again before the next call.
    pub async fn next(
        &mut self,
        max: usize,
        linger: Duration,
        from: u64,
    ) -> Result<Vec<Incoming>, Error> {
        todo!()
    }

    /// Keeps the pin while the caller waits for something else, as in `select! { permit = …, lost = intake.hold() }`.
    ///
    /// # Errors
    ///
    /// [`Error::PinLost`].
    pub async fn hold(&mut self) -> Result<Infallible, Error> {
        todo!()
    }

    /// A handle that acknowledges while the intake is being read.
    pub fn acker(&self) -> Acker {
        todo!()
    }

    /// Acknowledges every message up to a number.
    ///
    /// # Errors
    ///
    /// Where the client is closed.
    pub async fn ack_through(&self, seq: u64) -> Result<(), Error> {
        todo!()
    }

    /// Resolves when the pin is lost (at once where it is not held).
    pub fn released(&self) -> impl Future<Output = ()> + Send + 'static {
        async { todo!() }
    }

    /// Gives the pin up, so that another process need not wait for it to run out.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked.
    pub async fn release(self) -> Result<(), Error> {
        todo!()
    }
}
