//! The trace spans of one message on its way (OBS-1): receive, validate, seal, deliver.
//!
//! Only messages whose publisher samples its trace get any; all others cost one look at a header.

use logline_bus::Incoming;
use logline_bus::trace;
use tracing::Span;

/// The trace span of handling one message; disabled where nobody samples it.
pub(crate) struct Trace(Span);

impl Trace {
    /// Begins as the message is taken from the bus.
    pub(crate) fn receive(incoming: &Incoming) -> Self {
        if !incoming.is_sampled() {
            return Self(Span::none());
        }
        let span = tracing::info_span!(
            "process ingest.{tenant}.{principal}.{entity_type}",
            ingest_seq = incoming.seq
        );
        trace::extract(incoming, &span);
        span.in_scope(|| drop(tracing::info_span!("receive")));
        Self(span)
    }

    /// Lasts while the message is validated and decided.
    pub(crate) fn validate(&self) -> Option<Span> {
        self.enabled()
            .map(|parent| tracing::info_span!(parent: parent, "validate"))
    }

    /// Lasts while the message is committed.
    pub(crate) fn seal(&self) -> Option<Span> {
        self.enabled()
            .map(|parent| tracing::info_span!(parent: parent, "seal"))
    }

    /// Lasts while the sealed span and its receipt go out.
    pub(crate) fn deliver(&self) -> Option<Span> {
        self.enabled()
            .map(|parent| tracing::info_span!(parent: parent, "deliver"))
    }

    /// What the sealed span carries on: this process's part of the trace, else what came with the message.
    pub(crate) fn traceparent(&self, incoming: &Incoming) -> Option<String> {
        self.enabled()
            .and_then(|span| span.in_scope(trace::current_traceparent))
            .or_else(|| incoming.traceparent.clone())
    }

    fn enabled(&self) -> Option<&Span> {
        (!self.0.is_disabled()).then_some(&self.0)
    }
}
