//! The trace context on the bus: `traceparent` in, `traceparent` out.

pub use logline_telemetry::propagation::current_traceparent;

/// A message that may carry a trace context.
pub trait Traced {
    /// Its `traceparent`, as it came.
    fn traceparent(&self) -> Option<&str>;
}

impl Traced for crate::Incoming {
    fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }
}

impl Traced for crate::Delivery {
    fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }
}

impl Traced for crate::TimerDelivery {
    fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }
}

/// Makes `span` a child of what the message's publisher was doing.
pub fn extract(message: &impl Traced, span: &tracing::Span) {
    if let Some(traceparent) = message.traceparent() {
        logline_telemetry::propagation::set_parent(span, traceparent);
    }
}
