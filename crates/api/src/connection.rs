//! Connections: how many there may be, how long one may stay silent, and how they end.

use std::{io, net::IpAddr, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{metric, rate, share::Shares};

mod progress;

use progress::Progress;

/// How long a connection may take to send a request's head, and how long an idle one is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause after the system had no descriptor or memory for a connection: trying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where a request comes from: the other end of its connection, whatever the request says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// What connections may take.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) connections_max: usize,
    /// How many of them one address may have.
    pub(crate) connections_per_address_max: usize,
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
    let addresses = Shares::new();
    while let Some((stream, peer, permit)) = accept(&listener, &permits, &shutdown).await {
        let most = limits.connections_per_address_max;
        let Some(share) = addresses.take(rate::network(peer.0), most) else {
            metrics::counter!(metric::CONNECTIONS_REFUSED).increment(1);
            continue;
        };
        let answering = answer(stream, peer, router.clone(), limits, shutdown.clone());
        let cut = cut.clone();
        tasks.spawn(async move {
            let open = metrics::gauge!(metric::CONNECTIONS);
            open.increment(1.0);
            tokio::select! {
                () = answering => {}
                () = cut.cancelled() => {}
            }
            open.decrement(1.0);
            drop((permit, share));
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
) -> Option<(TcpStream, Peer, OwnedSemaphorePermit)> {
    let next = async {
        let permit = Arc::clone(permits).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, from)) => return Some((stream, Peer(from.ip()), permit)),
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

async fn answer(
    stream: TcpStream,
    peer: Peer,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
) {
    // A receipt or an event is small and must not wait for more to send; where it fails it only waits.
    let _ = stream.set_nodelay(true);
    let stream = Progress::new(stream, limits.write_stall);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        router.call(request)
    });
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
