//! The W3C trace context as text: what travels in the header `traceparent`.

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The `traceparent` of the current trace span; `None` where no traces are exported.
///
/// A caller that relays a message falls back to the `traceparent` which came with it, so that the
/// trace goes on through a process that exports nothing.
#[must_use]
pub fn current_traceparent() -> Option<String> {
    let context = tracing::Span::current().context();
    let span = context.span();
    let parent = span.span_context();
    parent.is_valid().then(|| {
        format!(
            "00-{}-{}-{:02x}",
            parent.trace_id(),
            parent.span_id(),
            parent.trace_flags().to_u8()
        )
    })
}

/// Makes `span` a child of the remote trace span that `traceparent` names; other text has no effect.
pub fn set_parent(span: &tracing::Span, traceparent: &str) {
    if let Some(remote) = parse(traceparent) {
        // It fails only where no exporter is installed, and then there is no trace to join.
        let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(remote));
    }
}

/// Links `span` to the remote trace span that `traceparent` names; other text has no effect.
pub fn add_link(span: &tracing::Span, traceparent: &str) {
    if let Some(remote) = parse(traceparent) {
        span.add_link(remote);
    }
}

/// The 32 hexadecimal digits of the trace id in a well-formed `traceparent` (W3C Trace Context §3.2).
#[must_use]
pub fn trace_id(traceparent: &str) -> Option<&str> {
    parse(traceparent)?;
    traceparent.get(3..35)
}

fn parse(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, digits: usize| {
        text.len() == digits
            && text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let shaped = hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
    // Version 00 has exactly four parts; later ones may append more, ff is forbidden.
    if !shaped || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_well_formed_traceparent_gives_its_trace_id() {
        assert_eq!(
            trace_id(&format!("00-{TRACE}-00f067aa0ba902b7-01")),
            Some(TRACE)
        );
        assert_eq!(
            trace_id(&format!("01-{TRACE}-00f067aa0ba902b7-01-more")),
            Some(TRACE)
        );
    }

    #[test]
    fn a_malformed_traceparent_gives_none() {
        for text in [
            String::new(),
            "00".to_owned(),
            format!("00-{TRACE}-00f067aa0ba902b7"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{TRACE}-00f067aa0ba902bé-01"),
        ] {
            assert_eq!(trace_id(&text), None, "{text}");
        }
    }

    #[test]
    fn without_an_exporter_there_is_no_current_traceparent() {
        assert_eq!(current_traceparent(), None);
    }
}
