//! What the API is told when it starts.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU32,
};

/// How the API listens and what it bounds. Durations are in milliseconds.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens; loopback unless an operator says otherwise, port 0 for any free one.
    pub listen: SocketAddr,
    /// How often each principal, and each address without a token, may ask; none where it is off.
    pub rate: Option<Rate>,
    /// Origins whose pages may call the API from a browser, such as `https://app.example`; empty for none.
    pub cors_origins: Vec<String>,
    /// Longest body of one span; the bus takes no more than 1 MiB with headers.
    pub span_bytes_max: usize,
    /// Longest array or NDJSON body: what one request may hold in memory.
    pub batch_bytes_max: usize,
    /// Most spans in one array or NDJSON body.
    pub batch_entries_max: usize,
    /// Bound on every request, streams aside (API-5).
    pub request_timeout_ms: u64,
    /// How long a publisher that wants its span sealed waits before it gets a receipt to ask with (API-4).
    pub sealed_wait_ms: u64,
    /// How often a silent stream shows that it is alive.
    pub heartbeat_ms: u64,
    /// How long a stream's reader may leave a span untaken before the stream ends.
    pub slow_reader_ms: u64,
    /// Most streams at once: each holds a consumer on the bus.
    pub streams_max: usize,
    /// Most streams of one principal.
    pub streams_per_reader_max: usize,
    /// Most streams of all that have no token.
    pub streams_anonymous_max: usize,
    /// Most connections at once: each holds a file descriptor and a buffer.
    pub connections_max: usize,
    /// Most connections from one address: those of a reverse proxy all come from one.
    pub connections_per_address_max: usize,
    /// How long a peer may take nothing of its answer before its connection is cut.
    pub write_stall_ms: u64,
    /// How long running requests may take to end when the API stops.
    pub drain_ms: u64,
}

impl Config {
    /// What `docs/http.md` gives as defaults: any free port of loopback, no browsers.
    pub const STANDARD: Self = Self {
        listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
        rate: Some(Rate::STANDARD),
        cors_origins: Vec::new(),
        span_bytes_max: 1 << 20,
        batch_bytes_max: 8 << 20,
        batch_entries_max: 1000,
        request_timeout_ms: 30_000,
        sealed_wait_ms: 4_000,
        heartbeat_ms: 15_000,
        slow_reader_ms: 10_000,
        streams_max: 256,
        streams_per_reader_max: 32,
        streams_anonymous_max: 64,
        connections_max: 1024,
        connections_per_address_max: 256,
        write_stall_ms: 30_000,
        drain_ms: 5_000,
    };
}

/// How often one may ask: so often at once, and so often a second from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests in a second.
    pub per_second: NonZeroU32,
    /// Requests at once.
    pub burst: NonZeroU32,
}

impl Rate {
    /// What API-2 gives as default.
    pub const STANDARD: Self = Self {
        per_second: NonZeroU32::MIN.saturating_add(49),
        burst: NonZeroU32::MIN.saturating_add(99),
    };
}

/// Why the API could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken or not this machine's.
    #[error("cannot listen on {listen}")]
    Listen {
        /// The address as configured.
        listen: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// An origin that no browser would send.
    #[error("cors origin `{origin}` is not of the form `https://host`")]
    Origin {
        /// The origin as configured.
        origin: String,
    },
}

/// One part's health, asked whenever somebody asks whether the process is ready.
pub struct Check {
    name: String,
    probe: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
}

impl Check {
    /// A check under a name; `probe` looks at what is known already, it never waits.
    /// Its sentence is shown to anybody who asks: it holds no content of any span.
    pub fn new(
        name: impl Into<String>,
        probe: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            probe: Box::new(probe),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn ask(&self) -> Result<(), String> {
        (self.probe)()
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
