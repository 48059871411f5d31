//! The API as a part: it binds first, so that its address is known, and then runs until it is told to stop.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use logline_access::Verifier;
use logline_bus::Bus;
use logline_span::{Limits, Reader};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::{Check, Config, Error},
    connection, cors,
    rate::Rates,
    route,
    share::Shares,
    signed::Signatures,
};

/// What the API works with.
#[derive(Debug)]
pub struct Resources {
    /// Where spans are published, and where streams read.
    pub bus: Bus,
    /// Says whom a token stands for.
    pub access: Verifier,
    /// Reads the ledger as the identity that asks.
    pub reader: logline_ledger::Reader,
    /// Bounds on spans, the same as the projector's.
    pub limits: Limits,
    /// Health of the other parts of this process, for `/readyz`.
    pub checks: Vec<Check>,
}

/// What every request sees.
pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) access: Verifier,
    pub(crate) rates: Rates,
    pub(crate) signatures: Signatures,
    pub(crate) bus: Bus,
    pub(crate) reader: logline_ledger::Reader,
    pub(crate) limits: Limits,
    pub(crate) checks: Vec<Check>,
    /// One permit for each stream that may be open.
    pub(crate) streams: Arc<Semaphore>,
    /// How many of them each reader has, and all that are nobody together.
    pub(crate) stream_shares: Arc<Shares<Option<Arc<Reader>>>>,
    /// The tasks that feed streams.
    pub(crate) tasks: TaskTracker,
    /// Ends every stream.
    pub(crate) stopping: CancellationToken,
}

/// The HTTP API.
#[derive(Debug)]
pub struct Api;

/// An API that listens and does not answer yet.
pub struct Bound {
    listener: TcpListener,
    addr: SocketAddr,
    state: Arc<State>,
    cors: Option<tower_http::cors::CorsLayer>,
}

impl Api {
    /// Checks the configuration and listens.
    ///
    /// # Errors
    /// An origin that may not be, or an address that cannot be listened on.
    pub async fn bind(config: Config, resources: Resources) -> Result<Bound, Error> {
        let cors = cors::layer(&config.cors_origins)?;
        let listen = |source| Error::Listen {
            listen: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let addr = listener.local_addr().map_err(listen)?;
        let state = Arc::new(State {
            streams: Arc::new(Semaphore::new(config.streams_max)),
            stream_shares: Shares::new(),
            rates: Rates::new(config.rate),
            signatures: Signatures::default(),
            access: resources.access,
            bus: resources.bus,
            reader: resources.reader,
            limits: resources.limits,
            checks: resources.checks,
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            config,
        });
        Ok(Bound {
            listener,
            addr,
            state,
            cors,
        })
    }
}

impl Bound {
    /// Where it listens, with the port that was chosen.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Answers until `shutdown`; then ends streams with their end frame, lets running requests finish
    /// within the configured time, and returns.
    pub async fn run(self, shutdown: CancellationToken) {
        let state = self.state;
        let router = route::router(Arc::clone(&state), self.cors);
        let ending = {
            let state = Arc::clone(&state);
            let shutdown = shutdown.clone();
            async move {
                shutdown.cancelled().await;
                state.stopping.cancel();
                state.tasks.close();
            }
        };
        let limits = connection::Limits {
            connections_max: state.config.connections_max,
            connections_per_address_max: state.config.connections_per_address_max,
            write_stall: Duration::from_millis(state.config.write_stall_ms),
            drain: Duration::from_millis(state.config.drain_ms),
        };
        let serving = connection::serve(self.listener, router, limits, shutdown);
        futures_util::future::join(ending, serving).await;
        state.tasks.wait().await;
    }
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bound")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}
