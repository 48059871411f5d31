//! Connections: how many there may be, how long one may stay silent, and how they end.

use std::{io, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::metric;

mod progress;

use progress::Progress;

/// How long a connection may take to send a request's head, and how long an idle one is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause after the system had no descriptor or memory for a connection: trying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What connections may take.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) connections_max: usize,
    /// How long a peer may take nothing of what is written to it.
    pub(crate) write_stall: Duration,
    /// How long busy connections may take to finish once the API stops.
    pub(crate) drain: Duration,
}

/// Answers connections until `shutdown`, then lets those that are busy finish.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(limits.connections_max));
    let tasks = TaskTracker::new();
    let cut = CancellationToken::new();
    while let Some((stream, permit)) = accept(&listener, &permits, &shutdown).await {
        let answering = answer(stream, router.clone(), limits, shutdown.clone());
        let cut = cut.clone();
        tasks.spawn(async move {
            let open = metrics::gauge!(metric::CONNECTIONS);
            open.increment(1.0);
            tokio::select! {
                () = answering => {}
                () = cut.cancelled() => {}
            }
            open.decrement(1.0);
            drop(permit);
        });
    }
    drop(listener);
    tasks.close();
    if tokio::time::timeout(limits.drain, tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            connections = tasks.len(),
            "connections were cut: they did not end in time"
        );
        cut.cancel();
        tasks.wait().await;
    }
}

/// The next connection; `None` once the API stops.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
    shutdown: &CancellationToken,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let next = async {
        let permit = Arc::clone(permits).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((stream, permit)),
                Err(error) if is_the_peers(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "no connection can be accepted");
                    pause().await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => None,
        accepted = next => accepted,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the system does not say when it has descriptors again"
)]
async fn pause() {
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// Whether the peer gave up before it was accepted.
fn is_the_peers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

async fn answer(stream: TcpStream, router: Router, limits: Limits, shutdown: CancellationToken) {
    // A receipt or an event is small and must not wait for more to send; where it fails it only waits.
    let _ = stream.set_nodelay(true);
    let stream = Progress::new(stream, limits.write_stall);
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}

#[cfg(test)]
mod tests;
