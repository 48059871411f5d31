//! Where the actors' spans leave for the bus.

use std::time::Duration;

use logline_bus as bus;
use logline_bus::{Answer, Bus, Outgoing, Receipt, trace};
use logline_span::{Refusal, SpanId};

use crate::author::{Author, Signed};
use crate::written::Written;

/// How long a receipt is waited for at a time.
const RECEIPT_WAIT: Duration = Duration::from_secs(5);

/// What became of a span that was to be sealed.
pub(crate) enum Sent {
    /// Sealed under this id, which is the first one's where it is a repeat.
    Sealed(SpanId),
    Refused(Refusal),
}

/// Signs and publishes.
pub(crate) struct Outbox {
    bus: Bus,
    author: Author,
}

/// The place of a message in its chain of causes: what goes into the headers of what it causes.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// Depth of what is caused: the cause's + 1 (EXE-8).
    pub(crate) depth: u16,
    /// The cause's trace, for a process that exports no traces of its own.
    pub(crate) traceparent: Option<String>,
}

impl Context {
    pub(crate) fn of_cause(depth: u16, traceparent: Option<String>) -> Self {
        Self {
            depth: depth.saturating_add(1),
            traceparent,
        }
    }
}

impl Outbox {
    pub(crate) fn new(bus: Bus, author: Author) -> Self {
        Self { bus, author }
    }

    pub(crate) fn bus(&self) -> &Bus {
        &self.bus
    }

    pub(crate) fn sign(&self, written: Written) -> Signed {
        self.author.sign(written)
    }

    /// See [`Author::sign_stand_in`].
    pub(crate) fn sign_stand_in(&self, refused: Written, refusal: &Refusal) -> Signed {
        self.author.sign_stand_in(refused, refusal)
    }

    /// Publishes; the bus has the span when this returns.
    pub(crate) async fn publish(
        &self,
        signed: &Signed,
        context: &Context,
    ) -> Result<(), bus::Error> {
        self.bus
            .publish(&signed.subject, outgoing(signed, context))
            .await
            .map(drop)
    }

    /// Publishes and waits for the receipt; none while it does not come.
    pub(crate) async fn publish_sealed(
        &self,
        signed: &Signed,
        context: &Context,
    ) -> Result<Option<Sent>, bus::Error> {
        let answer = self
            .bus
            .publish_sealed(&signed.subject, outgoing(signed, context), RECEIPT_WAIT)
            .await?;
        Ok(match answer {
            Answer::Receipt(Receipt::Sealed { id, .. }) => Some(Sent::Sealed(id)),
            Answer::Receipt(Receipt::Refused(refusal)) => Some(Sent::Refused(refusal)),
            Answer::Pending { .. } => None,
        })
    }
}

fn outgoing(signed: &Signed, context: &Context) -> Outgoing {
    Outgoing {
        body: signed.body.clone(),
        encoding: logline_span::Encoding::Json,
        traceparent: trace::current_traceparent().or_else(|| context.traceparent.clone()),
        receipt: None,
        depth: Some(context.depth),
    }
}
