//! The projector's intake: `INGEST` in order, without gaps, for one process at a time.
//!
//! A consumer with one pinned client brings the messages; what it does not bring is fetched by number. Anyone may have
//! written their headers, and the client library drops its connection over malformed ones (or dies of them), so
//! they are read over a connection of their own, which is made again, and a message that cannot be read so is
//! read in the server's JSON instead: one sender's poison stops nobody (LED-16).

mod ack;
mod align;
mod order;
mod raw;

use std::{convert::Infallible, sync::Arc, time::Duration};

use async_nats::{
    Message,
    jetstream::consumer::{AckPolicy, Info, pull},
};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use crate::{
    Bus, Error, Fingerprint, Incoming,
    consumer::{self, Found, ensure},
    metric,
    pull::{Pull, Pulled},
    stored::{DeliveryInfo, Stored},
    stream::INGEST,
};

pub use ack::Acker;
use order::Order;

/// The consumer of the one shard that there is (BUS-10).
const DURABLE: &str = "projector-0";

/// Messages fetched by number at once.
const FETCH_MAX: u64 = 1000;

/// How the intake behaves.
#[derive(Clone, Copy, Debug)]
pub struct IntakeConfig {
    /// How long a process may be silent before another takes over.
    pub take_over: Duration,
    /// After how long an unacknowledged message is delivered again.
    pub ack_wait: Duration,
    /// Messages that may be unacknowledged at once.
    pub max_ack_pending: usize,
    /// Messages asked for at once; at most twice as many are buffered.
    pub batch_max: usize,
}

/// The messages of `INGEST` for the one process that holds the pin.
pub struct Intake {
    bus: Bus,
    /// The connection that hostile headers may break.
    reader: Bus,
    settings: IntakeConfig,
    config: pull::Config,
    pull: Pull,
    pinned: watch::Sender<bool>,
    order: Order,
    /// The last message handed out, or the one before: what tells on every connect whether the bus forgot any (LED-17).
    anchor: Option<(u64, Fingerprint)>,
    /// Handed out by the call that is under way; it survives a dropped future.
    out: Vec<Incoming>,
    acks: Arc<ack::Pending>,
    /// The consumer must be looked at before the next message.
    doubtful: bool,
    /// Times in a row that the connection was lost without a message handed out in between.
    strikes: u32,
}

impl Bus {
    /// Opens the intake, making its consumer where it is missing.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked.
    pub async fn intake(&self, mut settings: IntakeConfig) -> Result<Intake, Error> {
        let config = pull::Config {
            ack_policy: AckPolicy::All,
            ..consumer::config(
                DURABLE,
                Vec::new(),
                settings.ack_wait,
                settings.max_ack_pending,
                Some(settings.take_over),
            )
        };
        if let Found::There {
            take_over: Some(take_over),
            ..
        } = ensure(self, INGEST, &config, true).await?
        {
            settings.take_over = take_over;
        }
        let reader = self.sibling("intake").await?;
        let pinned = watch::Sender::new(false);
        let pull = start(&reader, &settings, &pinned).await?;
        Ok(Intake {
            bus: self.clone(),
            reader,
            settings,
            config,
            pull,
            pinned,
            order: Order::new(),
            anchor: None,
            out: Vec::new(),
            acks: Arc::default(),
            doubtful: true,
            strikes: 0,
        })
    }

    /// One message of `INGEST`, where it is still kept.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked.
    pub async fn ingest_at(&self, seq: u64) -> Result<Option<Incoming>, Error> {
        self.raw_ingest(seq)
            .await
            .map(|found| found.map(|raw| raw.incoming))
    }

    /// Whether `INGEST` has not forgotten the message with this number: it holds it, or purged it from its front.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked, or contradicts itself.
    pub async fn ingest_keeps(&self, seq: u64, known: &Fingerprint) -> Result<bool, Error> {
        if let Some(kept) = self.ingest_at(seq).await? {
            return Ok(kept.fingerprint() == *known);
        }
        let state = self.ingest_state().await?;
        if seq > state.last || seq < state.first {
            return Ok(seq <= state.last);
        }
        Err(Error::Missing {
            seq,
            first: state.first,
            last: state.last,
        })
    }
}

async fn start(
    reader: &Bus,
    settings: &IntakeConfig,
    pinned: &watch::Sender<bool>,
) -> Result<Pull, Error> {
    let take_over = Some(settings.take_over);
    let spec = consumer::pull_spec(INGEST, DURABLE, settings.batch_max.max(1), take_over);
    Pull::start_pinned(reader, spec, pinned.clone()).await
}

impl Intake {
    /// Waits until this process may seal: it holds the pin, or nobody does. Only then should it fence the ledger.
    ///
    /// # Errors
    ///
    /// Where the client is closed.
    pub async fn claim(&mut self) -> Result<(), Error> {
        loop {
            if self.doubtful {
                self.realign().await?;
            }
            if self.pull.is_pinned() || self.order.len() > 0 || self.vacant().await? {
                return Ok(());
            }
            match self.receive().await {
                Ok(()) | Err(Error::PinLost) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for messages and hands out up to `max`, from the wanted number `from` on.
    ///
    /// It returns as soon as there is one and `linger` has passed since, with everything already buffered. Messages
    /// below `from` that this intake has not handed out, or that were acknowledged, come flagged `again`: their number
    /// alone does not say that they are the ones which were. Numbers that are missing in between were purged. A lower `from` than before goes back. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// [`Error::PinLost`] once another process may have taken over: [`Intake::claim`] before the next call.
    /// [`Error::Forgotten`] where the bus forgot what was handed out.
    pub async fn next(
        &mut self,
        max: usize,
        linger: Duration,
        from: u64,
    ) -> Result<Vec<Incoming>, Error> {
        if self.order.want(from) {
            self.out.clear();
            self.doubtful = true;
        }
        self.pull.trickle(false);
        let mut until = None;
        loop {
            if self.doubtful {
                self.realign().await?;
            }
            while self.out.len() + self.order.len() < max
                && let Some(pulled) = self.pull.ready()
            {
                self.accept(pulled)?;
            }
            while self.out.len() < max {
                if let Some(message) = self.order.next() {
                    self.out.push(message);
                } else if let Some((from, through)) = self.order.hole() {
                    self.fill(from, through).await?;
                } else {
                    break;
                }
            }
            if self.out.is_empty() {
                self.receive().await?;
                continue;
            }
            self.strikes = 0;
            // Where this fails, so does the next call, which knows what to do.
            let _ = self.pull.keep_asking().await;
            let until = *until.get_or_insert_with(|| Instant::now() + linger);
            if self.out.len() >= max
                || linger.is_zero()
                || timeout_at(until, self.receive())
                    .await
                    .map_or(Ok(true), |it| it.map(|()| false))?
            {
                let out = std::mem::take(&mut self.out);
                if let Some(last) = out.iter().rfind(|message| !message.again) {
                    self.anchor = Some((last.seq, last.fingerprint()));
                }
                return Ok(out);
            }
        }
    }

    /// Keeps the pin while the caller waits for something else, as in
    /// `select! { permit = slots.acquire() => …, lost = intake.hold() => … }`. What comes meanwhile is buffered.
    ///
    /// # Errors
    ///
    /// [`Error::PinLost`].
    pub async fn hold(&mut self) -> Result<Infallible, Error> {
        loop {
            if self.doubtful {
                self.realign().await?;
            }
            self.pull
                .trickle(self.order.len() >= self.settings.batch_max);
            self.receive().await?;
        }
    }

    /// Names the message before the wanted one, which the bus must not have forgotten when the first ones are handed out.
    pub fn anchor(&mut self, seq: u64, known: Fingerprint) {
        self.anchor = Some((seq, known));
        self.doubtful = true;
    }

    /// A handle that acknowledges while the intake is being read.
    #[must_use]
    pub fn acker(&self) -> Acker {
        Acker::new(&self.bus, &self.acks)
    }

    /// Acknowledges every message up to a number.
    ///
    /// # Errors
    ///
    /// Where the client is closed.
    pub async fn ack_through(&self, seq: u64) -> Result<(), Error> {
        self.acker().ack_through(seq).await
    }

    /// Whether nobody holds the pin.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked.
    pub async fn vacant(&self) -> Result<bool, Error> {
        let info = self.info().await?;
        Ok(info
            .priority_groups
            .iter()
            .all(|group| group.pinned_client_id.is_none()))
    }

    /// Resolves when the pin is lost (at once where it is not held).
    pub fn released(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut pinned = self.pinned.subscribe();
        async move {
            // The sender goes with the intake, and the pin with it.
            let _ = pinned.wait_for(|pinned| !pinned).await;
        }
    }

    /// Gives the pin up, so that another process need not wait for it to run out.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked.
    pub async fn release(mut self) -> Result<(), Error> {
        let released = self.pull.unpin().await;
        self.reader.close().await;
        released
    }

    /// Waits for what the consumer brings next.
    async fn receive(&mut self) -> Result<(), Error> {
        match self.pull.next().await {
            Ok(pulled) => self.accept(pulled),
            Err(Error::Closed) if !self.bus.is_closed() => self.reconnect().await,
            Err(error) => Err(error),
        }
    }

    fn accept(&mut self, pulled: Pulled) -> Result<(), Error> {
        match pulled {
            Pulled::Message(message) => self.keep(message),
            Pulled::PinLost => {
                self.order.forget();
                self.out.clear();
                return Err(Error::PinLost);
            }
            Pulled::Reconnected => {
                self.strikes = self.strikes.saturating_add(1);
                self.doubtful = true;
            }
            Pulled::Gone | Pulled::Silent => self.doubtful = true,
        }
        Ok(())
    }

    fn keep(&mut self, message: Message) {
        let Some(info) = DeliveryInfo::of(&message) else {
            return;
        };
        let handed_out = self.order.handed_out(info.stream_seq);
        let acknowledged = message
            .reply
            .is_some_and(|reply| self.acks.note(info.stream_seq, reply));
        if handed_out && !acknowledged {
            // It is on its way through the stages.
            return;
        }
        let incoming = Incoming::read(
            info.stream_seq,
            info.time_ns,
            message.subject.into_string(),
            message.headers.as_ref(),
            message.payload,
            self.bus.inner.open_inboxes,
        );
        if handed_out {
            // The word was lost, and the receipt may be too (BUS-2).
            self.order.put_again(incoming);
        } else {
            self.order.put(incoming);
        }
    }

    /// Fetches messages that the consumer will not bring, or not soon.
    async fn fill(&mut self, from: u64, through: u64) -> Result<(), Error> {
        let count = (through - from + 1).min(FETCH_MAX);
        let fetched = self
            .reader
            .fetch(INGEST, from, usize::try_from(count).unwrap_or(1));
        let (messages, known) = match fetched.await {
            Ok(stored) => {
                let known = gapless(from, stored.iter().map(|it| it.seq));
                let messages: Vec<_> = stored
                    .into_iter()
                    .take_while(|it| it.seq <= known)
                    .map(|it| self.incoming(it))
                    .collect();
                (messages, known)
            }
            Err(error) => {
                tracing::warn!(from, %error, "messages cannot be fetched at once; one by one");
                (Vec::new(), from - 1)
            }
        };
        let (messages, known) = if messages.is_empty() {
            self.fill_one(from).await?
        } else {
            (messages, known)
        };
        let wanted = messages
            .into_iter()
            .filter(|message| message.seq <= through);
        let filled = self.order.fill(wanted, known.min(through));
        metrics::counter!(metric::INTAKE_FILLED).increment(filled);
        Ok(())
    }

    /// Asks the stream's leader for what a direct answer left out: a replica may lag behind. Says up to which number all
    /// is known then.
    ///
    /// INVARIANT (absence): only what lies below the stream's first message is not kept, since nothing is deleted from
    /// `INGEST` and purges take from its front. Anything else that does not come is an error.
    async fn fill_one(&self, seq: u64) -> Result<(Vec<Incoming>, u64), Error> {
        if let Some(raw) = self.bus.raw_ingest(seq).await? {
            return Ok((vec![raw.incoming], seq));
        }
        let state = self.bus.ingest_state().await?;
        if seq < state.first {
            return Ok((Vec::new(), state.first - 1));
        }
        Err(Error::Missing {
            seq,
            first: state.first,
            last: state.last,
        })
    }

    fn incoming(&self, stored: Stored) -> Incoming {
        Incoming::read(
            stored.seq,
            stored.time_ns,
            stored.subject,
            Some(&stored.headers),
            stored.body,
            self.bus.inner.open_inboxes,
        )
    }

    async fn info(&self) -> Result<Info, Error> {
        self.bus
            .ask(format!("CONSUMER.INFO.{INGEST}.{DURABLE}"), &())
            .await
    }
}

/// The number up to which fetched messages follow each other without a gap, from `from` on.
fn gapless(from: u64, seqs: impl Iterator<Item = u64>) -> u64 {
    seqs.zip(from..)
        .take_while(|(seq, wanted)| seq == wanted)
        .last()
        .map_or(from - 1, |(seq, _)| seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_direct_answer_leaves_out_is_not_known() {
        for (seqs, known) in [
            (vec![], 4),
            (vec![6, 7], 4),
            (vec![5, 6, 8], 6),
            (vec![5, 6], 6),
        ] {
            assert_eq!(gapless(5, seqs.into_iter()), known);
        }
    }
}
