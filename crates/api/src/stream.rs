//! `GET /api/timeline/stream`: sealed spans as they come, as server-sent events.
//!
//! The resume token is the number of the message on the timeline, which stays the same when the stream is made again
//! (LED-12). A task feeds each stream through a bounded channel: it lets go of the bus as soon as its reader is too slow,
//! gone, or the API stops, and then says why in an end frame.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State as Shared,
    http::{HeaderMap, HeaderName, Uri, header},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream as streams};
use logline_bus::{Error, Start, Tail};
use logline_span::{Code, Reader, Sealed, Timestamp};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, Interval, MissedTickBehavior},
};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    identity::Identity,
    metric,
    parameters::Parameters,
    problem::Problem,
    publish,
    server::State,
    timeline::{self, FILTERS, Filters},
};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Frames that wait for the reader's socket: a span may be 256 KiB long.
const FRAMES_MAX: usize = 16;

/// How long browsers wait before they connect again, in milliseconds.
const RECONNECT_MS: u32 = 1000;

/// After this long a reader connects again and shows the token again: a revoked one loses its streams.
const SESSION_MAX: Duration = Duration::from_secs(3600);

/// Why a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Shutdown,
    SlowReader,
    BusLost,
    /// The reader's token has ended, or must be shown again.
    Expired,
    /// The reader closed it: nobody is told.
    Left,
}

impl End {
    fn as_str(self) -> &'static str {
        match self {
            Self::Shutdown => "shutdown",
            Self::SlowReader => "slow_reader",
            Self::BusLost => "bus_lost",
            Self::Expired => "expired",
            Self::Left => "left",
        }
    }

    fn frame(self) -> String {
        format!("event: end\ndata: {{\"reason\":\"{}\"}}\n\n", self.as_str())
    }
}

/// Opens a stream after the resume token, or with the next span that is sealed.
pub(crate) async fn stream(
    Shared(state): Shared<Arc<State>>,
    identity: Identity,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let known: Vec<&str> = FILTERS.iter().copied().chain(["after"]).collect();
    let mut parameters = Parameters::parse(&uri, &known)?;
    let filters = Filters::take(&mut parameters)?;
    let after = resume_token(&mut parameters, &headers)?;
    let place = place(&state, identity.reader.clone())?;
    let bus_problem = |error| Problem::from(publish::bus_refusal(&error));
    if !state.bus.connected().borrow().up {
        return Err(Problem::new(
            Code::BusUnavailable,
            "the bus cannot be reached",
        ));
    }
    let (after, name) = match after {
        Some(token) => token,
        None => (
            state.bus.timeline_last().await.map_err(bus_problem)?,
            "after",
        ),
    };
    let addresses = filters.addresses(identity.reader());
    let tail = state
        .bus
        .tail(addresses, Start::After(after))
        .await
        .map_err(|error| match error {
            Error::BeyondEnd { .. } => timeline::invalid_cursor(name),
            error => bus_problem(error),
        })?;
    let (frames, sent) = mpsc::channel(FRAMES_MAX);
    let (end, ended) = oneshot::channel();
    let feed = Feed {
        state: Arc::clone(&state),
        reader: identity.reader,
        ends_at: session_end(identity.expires_at),
        filters,
        frames,
        seen: after,
        told: after,
    };
    state.tasks.spawn(async move {
        let _place = place;
        // It fails where the reader has gone.
        let _ = end.send(feed.run(tail).await);
    });
    let last = streams::once(ended).filter_map(|end| async move { Some(end.ok()?.frame()) });
    let opening = format!("retry: {RECONNECT_MS}\nid: {after}\n\n");
    let frames = streams::once(async move { opening })
        .chain(ReceiverStream::new(sent))
        .chain(last);
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // Reverse proxies that buffer answers would hold events back.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(frames.map(Ok::<_, Infallible>))).into_response())
}

/// A place among the streams: one of all, and one of the reader's own share, so that nobody can take them all.
fn place(state: &State, reader: Option<Arc<Reader>>) -> Result<impl Send + 'static, Problem> {
    let too_many = |whose| {
        let detail = format!("too many streams are open {whose}");
        Problem::new(Code::RateLimited, detail)
    };
    let (most, whose) = match &reader {
        Some(_) => (state.config.streams_per_reader_max, "as this principal"),
        None => (state.config.streams_anonymous_max, "without a token"),
    };
    let share = state.stream_shares.take(reader, most);
    let share = share.ok_or_else(|| too_many(whose))?;
    let permit = Arc::clone(&state.streams).try_acquire_owned();
    let permit = permit.map_err(|_| too_many("on this server"))?;
    Ok((share, permit))
}

/// When the reader must show a token again.
fn session_end(expires_at: Option<Timestamp>) -> Instant {
    let left_us = expires_at.map(|at| at.as_micros().saturating_sub(publish::now().as_micros()));
    let left_us = left_us.map_or(u64::MAX, |left| u64::try_from(left).unwrap_or_default());
    Instant::now() + SESSION_MAX.min(Duration::from_micros(left_us))
}

/// Where the reader stopped: the header, which browsers send when they connect again, stands above the parameter.
fn resume_token(
    parameters: &mut Parameters,
    headers: &HeaderMap,
) -> Result<Option<(u64, &'static str)>, Problem> {
    let parameter = parameters.text("after");
    let (text, name) = match headers.get(LAST_EVENT_ID) {
        Some(value) => (value.to_str().ok().map(str::to_owned), "Last-Event-ID"),
        None if parameter.is_none() => return Ok(None),
        None => (parameter, "after"),
    };
    let token = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match token.and_then(|text| text.parse().ok()) {
        Some(number) => Ok(Some((number, name))),
        None => Err(timeline::invalid_cursor(name)),
    }
}

/// What feeds one stream.
struct Feed {
    state: Arc<State>,
    reader: Option<Arc<Reader>>,
    ends_at: Instant,
    filters: Filters,
    frames: mpsc::Sender<String>,
    /// The last message looked at.
    seen: u64,
    /// The last resume token that the reader has.
    told: u64,
}

impl Feed {
    async fn run(mut self, mut tail: Tail) -> End {
        let open = metrics::gauge!(metric::STREAMS);
        open.increment(1.0);
        let state = Arc::clone(&self.state);
        let mut connection = state.bus.connected();
        let lost = async {
            connection
                .wait_for(|connection| !connection.up)
                .await
                .is_ok()
        };
        let end = tokio::select! {
            biased;
            () = state.stopping.cancelled() => End::Shutdown,
            _ = lost => End::BusLost,
            () = tokio::time::sleep_until(self.ends_at) => End::Expired,
            end = self.follow(&mut tail) => end,
        };
        open.decrement(1.0);
        metrics::counter!(metric::STREAMS_ENDED, "reason" => end.as_str()).increment(1);
        end
    }

    async fn follow(&mut self, tail: &mut Tail) -> End {
        let period = Duration::from_millis(self.state.config.heartbeat_ms);
        let mut heartbeat = tokio::time::interval_at(Instant::now() + period, period);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let (number, sealed) = match self.next(tail, &mut heartbeat).await {
                Ok(next) => next,
                Err(end) => return end,
            };
            self.seen = number;
            let span = &sealed.span;
            let may_read = match &self.reader {
                Some(reader) => reader.may_read(&span.tenant_id, &span.owner_id, span.visibility),
                None => span.visibility == logline_span::Visibility::Public,
            };
            if !may_read || !self.filters.matches(&sealed) {
                continue;
            }
            let frame = format!(
                "event: span\nid: {number}\ndata: {}\n\n",
                self.shown(sealed).await
            );
            if let Err(end) = self.send(frame).await {
                return end;
            }
            heartbeat.reset();
        }
    }

    /// As a page shows it; while the ledger cannot be asked whose the key is, a signed span comes without that.
    async fn shown(&self, sealed: Sealed) -> String {
        let session = self.state.reader.as_reader(self.reader.as_deref());
        let shown = self.state.signatures.shown(&session, &sealed);
        timeline::read(shown)
            .await
            .unwrap_or_else(|_| sealed.to_json())
    }

    /// The next span on the bus; while there is none, the reader sees heartbeats.
    async fn next(
        &mut self,
        tail: &mut Tail,
        heartbeat: &mut Interval,
    ) -> Result<(u64, Sealed), End> {
        let mut next = pin!(tail.next());
        loop {
            tokio::select! {
                next = &mut next => return next.map_err(|error| {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a stream lost the timeline");
                    End::BusLost
                }),
                _ = heartbeat.tick() => {
                    // What was passed over need not be looked at again after a resume.
                    let frame = if self.seen > self.told {
                        format!(": heartbeat\nid: {}\n\n", self.seen)
                    } else {
                        ": heartbeat\n\n".to_owned()
                    };
                    self.send(frame).await?;
                }
                () = self.frames.closed() => return Err(End::Left),
            }
        }
    }

    async fn send(&mut self, frame: String) -> Result<(), End> {
        let patience = Duration::from_millis(self.state.config.slow_reader_ms);
        match self.frames.send_timeout(frame, patience).await {
            Ok(()) => {
                self.told = self.seen;
                Ok(())
            }
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => Err(End::SlowReader),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(End::Left),
        }
    }
}
