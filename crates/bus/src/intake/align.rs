//! After a first call, a step back, a lost connection or silence: does the consumer bring what is wanted next?

use serde_json::Value;

use super::{DURABLE, Intake, start};
use crate::{
    Error,
    consumer::{ensure, pause},
    metric,
    stream::INGEST,
};

impl Intake {
    pub(super) async fn realign(&mut self) -> Result<(), Error> {
        match self.realigned().await {
            Ok(()) => {
                self.doubtful = false;
                Ok(())
            }
            Err(error @ (Error::Closed | Error::Forgotten { .. })) => Err(error),
            Err(error) => {
                tracing::warn!(%error, "the intake cannot look at its consumer yet");
                self.strikes = self.strikes.saturating_add(1);
                pause(&self.bus, self.strikes).await;
                Ok(())
            }
        }
    }

    async fn realigned(&mut self) -> Result<(), Error> {
        if ensure(&self.bus, INGEST, &self.config, false)
            .await?
            .is_made()
        {
            metrics::counter!(metric::CONSUMER_REBUILDS, "consumer" => DURABLE).increment(1);
        }
        self.pull.forget_requests();
        if let Some((seq, known)) = &self.anchor
            && !self.bus.ingest_keeps(*seq, known).await?
        {
            return Err(Error::Forgotten { seq: *seq });
        }
        let info = self.info().await?;
        let last = self.bus.ingest_state().await?.last;
        let wanted = self.order.expected();
        if self.order.unseen() > last + 1 {
            // The bus forgot its newest messages, and will give their numbers to others (LED-17).
            self.order.forget();
            self.acks.forget();
        }
        let passed = info.ack_floor.stream_sequence >= wanted && wanted <= last;
        let ahead = info.delivered.stream_sequence > last;
        if wanted > 0 && (passed || ahead) {
            self.reset(wanted.min(last + 1)).await?;
        } else if wanted > 0 && self.strikes == 0 {
            // What a predecessor was given and did not seal would come again, but only after the acknowledgement wait.
            self.order.delivered(info.delivered.stream_sequence);
        }
        if self.strikes > 0 {
            self.pass_poison(last, info.ack_floor.stream_sequence)
                .await?;
        }
        Ok(())
    }

    /// The connection was lost: where the next message's headers did that, it is read in another way and passed.
    async fn pass_poison(&mut self, last: u64, acknowledged: u64) -> Result<(), Error> {
        let first = match self.order.expected() {
            0 => acknowledged + 1,
            _ => self.order.unseen(),
        };
        let mut next = first;
        while next <= last {
            match self.bus.raw_ingest(next).await? {
                Some(raw) if raw.malformed => {
                    tracing::warn!(seq = next, "a message's headers are malformed");
                    self.order.put(raw.incoming);
                    next += 1;
                }
                Some(_) | None => break,
            }
        }
        if next > first {
            self.reset(next).await
        } else if self.strikes > 2 && acknowledged + 1 < next {
            // It is one of those which were handed out, or sealed in an earlier life.
            self.reset(next).await
        } else {
            Ok(())
        }
    }

    /// Has the consumer go on at a number.
    async fn reset(&self, seq: u64) -> Result<(), Error> {
        tracing::info!(seq, "the intake's consumer goes on elsewhere");
        let request = serde_json::json!({ "seq": seq });
        let subject = format!("CONSUMER.RESET.{INGEST}.{DURABLE}");
        let _: Value = self.bus.ask(subject, &request).await?;
        Ok(())
    }

    /// Makes the reading connection again, which malformed headers can end for good.
    pub(super) async fn reconnect(&mut self) -> Result<(), Error> {
        self.strikes = self.strikes.saturating_add(1);
        self.doubtful = true;
        pause(&self.bus, self.strikes).await;
        match self.bus.sibling("intake").await {
            Ok(reader) => {
                let pin = self.pull.take_pin();
                self.pull = start(&reader, &self.settings, &self.pinned).await?;
                self.pull.put_pin(pin);
                self.reader = reader;
            }
            Err(error) => tracing::warn!(%error, "the intake cannot connect yet"),
        }
        Ok(())
    }
}
