//! One connection to the bus.

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::{Client, ConnectOptions, Event, jetstream};
use tokio::sync::watch;

use crate::{Error, access::inbox_prefix, metric, receipt::Inbox};

/// How long the server may take to answer one request or acknowledge one message.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a silent connection is probed; three unanswered probes end it.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// Longest pause between two attempts to reconnect: a server that comes back is found within a second.
const RECONNECT_MAX: Duration = Duration::from_millis(500);

/// Publishes that may wait for their acknowledgement at once.
const IN_FLIGHT_MAX: usize = 4096;

/// How to reach the bus.
#[derive(Clone)]
pub struct Config {
    /// Where the server listens, such as `nats://127.0.0.1:4222`. It may hold a login, so it is shown only as
    /// [`Config::address`].
    pub url: String,
    /// The name that operators see in the server's list of connections.
    pub connection_name: String,
    /// Copies that a cluster keeps of each stream; 1 on a single node.
    pub replicas: usize,
    /// Bytes that `INGEST` may hold before it refuses; -1 for no bound.
    pub ingest_bytes_max: i64,
    /// The login, where the server asks for one.
    pub user_password: Option<(String, Secret)>,
    /// File with the authority that signed the server's certificate, in PEM, where the machine does not know it.
    pub ca_file: Option<PathBuf>,
    /// Whether receipts may go to any address below `_INBOX`: for a server without accounts, in development alone (BUS-2).
    pub open_inboxes: bool,
}

impl Config {
    /// Where the server listens, without any login: for logs and errors.
    #[must_use]
    pub fn address(&self) -> String {
        address(&self.url)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("url", &self.address())
            .field("connection_name", &self.connection_name)
            .field("replicas", &self.replicas)
            .field("ingest_bytes_max", &self.ingest_bytes_max)
            .field("user_password", &self.user_password)
            .field("ca_file", &self.ca_file)
            .field("open_inboxes", &self.open_inboxes)
            .finish()
    }
}

/// The addresses of a list such as `nats://user:password@host:4222,other:4222`, each without user and password. What
/// stands before the last `@` goes, whatever it is.
fn address(url: &str) -> String {
    let each = url.split(',').map(|one| {
        let (scheme, rest) = match one.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest),
            None => (None, one),
        };
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        scheme.map_or_else(|| host.to_owned(), |scheme| format!("{scheme}://{host}"))
    });
    each.collect::<Vec<_>>().join(",")
}

/// A text that no log and no `Debug` shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret, for handing it on.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// State of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Whether the server answers.
    pub up: bool,
    /// How many times it was made: a reader that saw a lower number reconnected since.
    pub made: u64,
}

/// One connection to the bus; clones share it. It reconnects for ever.
#[derive(Clone)]
pub struct Bus {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    config: Config,
    closed: AtomicBool,
    pub(crate) client: Client,
    pub(crate) jetstream: jetstream::Context,
    pub(crate) replicas: usize,
    pub(crate) ingest_bytes_max: i64,
    pub(crate) open_inboxes: bool,
    pub(crate) connection: watch::Receiver<Connection>,
    pub(crate) inbox: Inbox,
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus")
            .field("connection", &*self.inner.connection.borrow())
            .finish_non_exhaustive()
    }
}

impl Bus {
    /// Connects; fails where no server answers, and reconnects for ever from then on.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`].
    pub async fn connect(config: &Config) -> Result<Self, Error> {
        let (state, connection) = watch::channel(Connection { up: false, made: 0 });
        let state = Arc::new(state);
        let mut options = ConnectOptions::new()
            .name(&config.connection_name)
            .request_timeout(Some(REQUEST_TIMEOUT))
            .ping_interval(PING_INTERVAL)
            .max_reconnects(None)
            .reconnect_delay_callback(reconnect_delay)
            .event_callback(move |event| {
                let state = Arc::clone(&state);
                async move { follow(&state, &event) }
            });
        if let Some((user, password)) = &config.user_password {
            options = options
                .user_and_password(user.clone(), password.expose().to_owned())
                .custom_inbox_prefix(inbox_prefix(user));
        }
        if let Some(ca_file) = &config.ca_file {
            options = options
                .add_root_certificates(ca_file.clone())
                .require_tls(true);
        }
        let client = options
            .connect(&config.url)
            .await
            .map_err(|source| Error::Connect {
                url: config.address(),
                source: source.into(),
            })?;
        // The event comes by another way than the connection: seen late, it would count as a second connection.
        let mut connection = connection;
        let _ =
            tokio::time::timeout(REQUEST_TIMEOUT, connection.wait_for(|now| now.made > 0)).await;
        let jetstream = jetstream::context::ContextBuilder::new()
            .timeout(REQUEST_TIMEOUT)
            .max_ack_inflight(IN_FLIGHT_MAX)
            .build(client.clone());
        Ok(Self {
            inner: Arc::new(Inner {
                inbox: Inbox::new(&client),
                config: config.clone(),
                closed: AtomicBool::new(false),
                client,
                jetstream,
                replicas: config.replicas,
                ingest_bytes_max: config.ingest_bytes_max,
                open_inboxes: config.open_inboxes,
                connection,
            }),
        })
    }

    /// Follows the state of the connection.
    #[must_use]
    pub fn connected(&self) -> watch::Receiver<Connection> {
        self.inner.connection.clone()
    }

    /// Another connection to the same server, for what could break this one.
    pub(crate) async fn sibling(&self, part: &str) -> Result<Self, Error> {
        let mut config = self.inner.config.clone();
        config.connection_name = format!("{} {part}", config.connection_name);
        Self::connect(&config).await
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.inner.closed.load(Ordering::Relaxed)
    }

    /// Sends what is buffered and closes the connection for every clone.
    pub async fn close(&self) {
        self.inner.closed.store(true, Ordering::Relaxed);
        // It fails only where the connection is closed already.
        let _ = self.inner.client.drain().await;
    }
}

fn reconnect_delay(attempts: usize) -> Duration {
    let exponent = u32::try_from(attempts.min(8)).unwrap_or(8);
    Duration::from_millis(10)
        .saturating_mul(2_u32.saturating_pow(exponent))
        .min(RECONNECT_MAX)
}

fn follow(state: &watch::Sender<Connection>, event: &Event) {
    match event {
        Event::Connected => {
            tracing::info!("connected to the bus");
            state.send_modify(|state| {
                state.up = true;
                state.made += 1;
            });
        }
        Event::Disconnected => {
            metrics::counter!(metric::DISCONNECTS).increment(1);
            tracing::warn!("connection to the bus lost");
            state.send_modify(|state| state.up = false);
        }
        Event::ServerError(error) => tracing::warn!(%error, "the bus server reported an error"),
        Event::ClientError(error) => tracing::warn!(%error, "the bus client reported an error"),
        Event::SlowConsumer(subscription) => {
            tracing::warn!(
                subscription,
                "messages dropped: a subscription was not read"
            );
        }
        Event::LameDuckMode | Event::Draining | Event::Closed => {
            tracing::debug!(%event, "connection to the bus");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_debug_shows_a_login() {
        for (url, shown) in [
            ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
            ("nats://user:hidden@host:4222", "nats://host:4222"),
            ("nats://hidden@host", "nats://host"),
            ("user:hid@den@host:4222", "host:4222"),
            (
                "nats://a:hidden@one,tls://b:hidden@two",
                "nats://one,tls://two",
            ),
        ] {
            let config = Config {
                url: url.to_owned(),
                connection_name: "test".to_owned(),
                replicas: 1,
                ingest_bytes_max: -1,
                user_password: Some(("user".to_owned(), Secret::new("hidden"))),
                ca_file: None,
                open_inboxes: false,
            };
            assert_eq!(config.address(), shown);
            assert!(!format!("{config:?}").contains("hidden"), "{config:?}");
        }
    }

    #[tokio::test]
    async fn no_error_shows_a_login() {
        let config = Config {
            url: "nats://user:hidden@127.0.0.1:1".to_owned(),
            connection_name: "test".to_owned(),
            replicas: 1,
            ingest_bytes_max: -1,
            user_password: None,
            ca_file: None,
            open_inboxes: false,
        };
        let error = Bus::connect(&config).await.unwrap_err();
        let mut said = format!("{error:?} {error}");
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            said = format!("{said} {cause:?} {cause}");
            source = cause.source();
        }
        assert!(!said.contains("hidden"), "{said}");
    }
}
