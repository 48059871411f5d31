//! What happens to every request: its trace, its bound in time, its line in the log, its errors as documents.

use std::{
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    extract::{MatchedPath, Request, State as Shared},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::FutureExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use logline_span::Code;
use logline_telemetry::propagation;
use tracing::Instrument;

use crate::{metric, problem::Problem, server::State};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The route of a request that matched none: what a client asked for is never a label or a log field.
const NO_ROUTE: &str = "none";

/// The names under which one request is found again.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    /// Made here, never taken from the client: quarantine entries are keyed by it.
    pub(crate) request_id: Arc<str>,
    /// The trace that the request belongs to: the client's, or one that begins here.
    pub(crate) traceparent: Arc<str>,
}

impl Trace {
    /// The trace id within the `traceparent`.
    pub(crate) fn id(&self) -> &str {
        propagation::trace_id(&self.traceparent).unwrap_or_default()
    }
}

/// Opens the request's trace, writes problems as documents, and logs one line when the answer is sent (API-5).
pub(crate) async fn record(mut request: Request, next: Next) -> Response {
    let route = match request.extensions().get::<MatchedPath>() {
        Some(path) => path.as_str().into(),
        None => Arc::from(NO_ROUTE),
    };
    let span = tracing::info_span!(
        "request",
        otel.name = format_args!("{} {route}", request.method()),
        otel.kind = "server",
        http.response.status_code = tracing::field::Empty,
    );
    let trace = Trace {
        request_id: uuid::Uuid::now_v7().simple().to_string().into(),
        traceparent: traceparent(&span, request.headers()),
    };
    let mut line = Line {
        method: request.method().clone(),
        route,
        trace: trace.clone(),
        started: Instant::now(),
        status: None,
        code: None,
        sent_bytes: 0,
    };
    request.extensions_mut().insert(trace.clone());
    let mut response = next.run(request).instrument(span.clone()).await;
    line.answered(&response);
    span.record("http.response.status_code", response.status().as_u16());
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        line.code = Some(problem.code());
        let body = problem.render(trace.id(), response.headers_mut());
        *response.body_mut() = body;
    }
    for (name, value) in [
        (REQUEST_ID, &trace.request_id),
        (TRACEPARENT, &trace.traceparent),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response.map(|body| Body::new(Recorded { body, line }))
}

/// Bounds the request in time and turns a panic into an answer.
pub(crate) async fn guard(
    Shared(state): Shared<Arc<State>>,
    request: Request,
    next: Next,
) -> Response {
    let bound = Duration::from_millis(state.config.request_timeout_ms);
    let answering = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(bound, answering).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            tracing::error!("a request handler panicked");
            Problem::new(Code::Internal, "the request could not be handled").into_response()
        }
        Err(_) => {
            let detail = format!("the request took longer than {} s", bound.as_secs());
            Problem::new(Code::RequestTimeout, detail).into_response()
        }
    }
}

/// The client's trace goes on; without one a trace begins.
fn traceparent(span: &tracing::Span, headers: &HeaderMap) -> Arc<str> {
    let given = headers
        .get(TRACEPARENT)
        .and_then(|value| value.to_str().ok());
    let given = given.filter(|text| propagation::trace_id(text).is_some());
    if let Some(given) = given {
        propagation::set_parent(span, given);
    }
    match (span.in_scope(propagation::current_traceparent), given) {
        (Some(current), _) => current.into(),
        (None, Some(given)) => given.into(),
        (None, None) => {
            let (trace, span) = (rand::random::<u128>().max(1), rand::random::<u64>().max(1));
            format!("00-{trace:032x}-{span:016x}-00").into()
        }
    }
}

/// One request's line in the log, written when it is dropped: after the last byte, or when the client has gone.
struct Line {
    method: Method,
    route: Arc<str>,
    trace: Trace,
    started: Instant,
    status: Option<StatusCode>,
    code: Option<Code>,
    sent_bytes: u64,
}

impl Line {
    fn answered(&mut self, response: &Response) {
        self.status = Some(response.status());
        let elapsed_ms = self.started.elapsed().as_secs_f64() * 1000.0;
        let status = response.status().as_str().to_owned();
        let (method, route) = (method_label(&self.method), self.route.to_string());
        metrics::counter!(metric::REQUESTS, "method" => method, "route" => route.clone(), "status" => status)
            .increment(1);
        metrics::histogram!(metric::REQUEST_MS, "route" => route).record(elapsed_ms);
    }
}

/// A method is a client's own text: labels are bounded.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let micros = self.started.elapsed().as_micros();
        tracing::info!(
            request_id = &*self.trace.request_id,
            trace_id = self.trace.id(),
            method = method_label(&self.method),
            route = &*self.route,
            // Absent where the client had gone before there was an answer.
            status = self.status.map(|status| status.as_u16()),
            length = self.sent_bytes,
            duration_us = u64::try_from(micros).unwrap_or(u64::MAX),
            error_code = self.code.map(Code::as_str),
            "request"
        );
    }
}

/// A response body that counts what it sends and keeps the request's line until the end.
struct Recorded {
    body: Body,
    line: Line,
}

impl HttpBody for Recorded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.line.sent_bytes += data.len() as u64;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
