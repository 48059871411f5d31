//! One message from the bus, read as far as it can be read alone.

use std::panic::{AssertUnwindSafe, catch_unwind};

use logline_bus::{Fingerprint, Incoming, Subject};
use logline_span::{
    Code, Draft, EntityType, Limits, Principal, Refusal, SpanId, TenantId, Timestamp, TraceId,
};

use crate::trace::Trace;

/// A message with what its address and its body say.
pub(crate) struct Message {
    pub(crate) incoming: Incoming,
    /// What tells it from another with its number.
    pub(crate) fingerprint: Fingerprint,
    pub(crate) reading: Result<Reading, Refusal>,
    pub(crate) trace: Trace,
}

/// A message whose address and body can be understood.
pub(crate) struct Reading {
    pub(crate) tenant: TenantId,
    pub(crate) principal: Principal,
    pub(crate) entity_type: EntityType,
    pub(crate) draft: Draft,
    /// The id that the draft names, or the one derived from the message.
    pub(crate) id: SpanId,
    pub(crate) trace_id: Option<TraceId>,
}

impl Reading {
    /// Whose the span will be, should it be accepted.
    pub(crate) fn owner(&self) -> &Principal {
        self.draft.owner_id.as_ref().unwrap_or(&self.principal)
    }
}

impl Message {
    /// Reads a message; `condemned` ones, which Postgres refused, are refused without being looked at.
    pub(crate) fn read(incoming: Incoming, limits: &Limits, condemned: bool) -> Self {
        let trace = Trace::receive(&incoming);
        let fingerprint = incoming.fingerprint();
        let reading = if condemned {
            Err(internal())
        } else {
            // LED-16: a fault of ours that one message provokes must not stop the others.
            catch_unwind(AssertUnwindSafe(|| read(&incoming, limits)))
                .unwrap_or_else(|_| Err(internal()))
        };
        Self {
            incoming,
            fingerprint,
            reading,
            trace,
        }
    }
}

/// The fingerprint in the ledger's words.
pub(crate) fn known_as(fingerprint: Fingerprint) -> logline_ledger::Fingerprint {
    let Fingerprint { digest, time_ns } = fingerprint;
    logline_ledger::Fingerprint { digest, time_ns }
}

/// When the bus took the message: all that the chain knows of time (LED-7).
pub(crate) fn bus_time(incoming: &Incoming) -> Timestamp {
    Timestamp::from_nanos_truncating(incoming.time_ns)
}

/// Who publishes what, where the message's address says so.
pub(crate) fn address(incoming: &Incoming) -> Result<(TenantId, Principal, EntityType), Refusal> {
    if let Subject::Ingest {
        tenant,
        principal,
        entity_type,
    } = incoming.subject.clone()?
    {
        Ok((tenant, principal, entity_type))
    } else {
        Err(Refusal::new(
            Code::InvalidAddress,
            "the address is not one of ingest",
        ))
    }
}

/// The refusal of a message that the system could not handle though it breaks no rule.
pub(crate) fn internal() -> Refusal {
    Refusal::new(
        Code::Internal,
        "the span could not be sealed and was put aside for an operator",
    )
}

fn read(incoming: &Incoming, limits: &Limits) -> Result<Reading, Refusal> {
    let (tenant, principal, entity_type) = address(incoming)?;
    let encoding = incoming.encoding.clone()?;
    let draft = Draft::parse(&incoming.body, encoding, limits)?;
    let id = draft.id.unwrap_or_else(|| {
        SpanId::derived(incoming.time_ns, &incoming.subject_text, &incoming.body)
    });
    let trace_id = incoming.trace_id();
    Ok(Reading {
        tenant,
        principal,
        entity_type,
        draft,
        id,
        trace_id,
    })
}
