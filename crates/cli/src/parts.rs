//! Composition: builds the parts that a process runs, hands each its resources, and ends them together.

use std::{future::Future, net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;
use logline_access::{Access, Refused, Verifier};
use logline_actors::{Actors, Backoff, State};
use logline_api::{Api, Check, Relay, RelayConfig, RelayHealth, RelayResources};
use logline_bus::{Admitted, Bus, access::Login};
use logline_ledger::{IdentityKey, Outbox, Reader, Writer};
use logline_projector::Projector;
use logline_sandbox::Sandbox;
use logline_signer::Signer;
use logline_span::SigningKey;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Hidden, LogFormat, Settings, Witness};

/// How long the parts have to end after a signal (EXE-9).
const STOP_MAX: Duration = Duration::from_secs(10);
/// How long a part waits for a connection to Postgres before it says that the ledger is away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// First and longest pause between attempts to reach what is away.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_LONGEST: Duration = Duration::from_secs(5);
/// Messages that a dead projector held are delivered to its successor after this long.
const ACK_WAIT: Duration = Duration::from_secs(5);
/// Messages that the projector may hold: several of its largest batches.
const ACK_PENDING_MAX: usize = 10_000;
/// Raw bytes of one batch: bounds the projector's memory where spans are large.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// Tenants whose chain's end is kept in memory, some 200 bytes each.
const TENANTS_CACHED_MAX: usize = 10_000;
/// Tenants whose heads are signed at the same time, each with one connection to Postgres.
const HEADS_PARALLEL_MAX: usize = 4;
/// Messages that one actor may hold.
const IN_FLIGHT_MAX: usize = 1024;
/// A request that was delivered so often ends its worker each time; one that merely waited through restarts stays far below.
const DELIVERIES_MAX: u64 = 50;
/// A role that crashes more often within the window stops, and readiness says so (EXE-5).
const CRASHES_MAX: usize = 5;
const CRASH_WINDOW: Duration = Duration::from_secs(60);

/// What a process can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Seals spans: the one writer of the ledger.
    Projector,
    /// Signs the heads of the chains, with a key and logins of its own.
    Signer,
    /// Makes requests of scheduled functions.
    Observer,
    /// Executes requests.
    Worker,
    /// Serves HTTP, and publishing with receipts on the bus.
    Api,
    /// Publishes what SQL clients insert.
    Outbox,
    /// Tells the bus what the holder of a token may do there.
    Callout,
}

impl Role {
    /// Those of a private stack, whose bus asks nobody who they are.
    pub(crate) const DEVELOPMENT: [Self; 6] = [
        Self::Projector,
        Self::Signer,
        Self::Observer,
        Self::Worker,
        Self::Outbox,
        Self::Api,
    ];

    /// Its login on the bus.
    const fn login(self) -> Login {
        match self {
            Self::Projector => Login::Projector,
            Self::Signer => Login::Signer,
            Self::Observer => Login::Observer,
            Self::Worker => Login::Worker,
            Self::Api => Login::Api,
            Self::Outbox => Login::Outbox,
            Self::Callout => Login::Callout,
        }
    }
}

/// Parts that run until they are stopped.
pub(crate) struct Parts {
    tasks: JoinSet<(&'static str, Result<()>)>,
    shutdown: CancellationToken,
    api: Option<SocketAddr>,
}

/// Installs logs, traces and metrics as the settings say.
pub(crate) fn telemetry(settings: &Settings) -> Result<logline_telemetry::Guard> {
    logline_telemetry::metrics::install();
    let endpoint = &settings.log.otlp_endpoint;
    let config = logline_telemetry::Config {
        service: "logline".to_owned(),
        log_filter: if settings.log.filter.is_empty() {
            // The actor library keeps one trace span open for the life of an actor.
            "info,ractor=warn".to_owned()
        } else {
            settings.log.filter.clone()
        },
        log_format: match settings.log.format {
            LogFormat::Json => logline_telemetry::LogFormat::Json,
            LogFormat::Text => logline_telemetry::LogFormat::Text,
        },
        otlp_endpoint: (!endpoint.is_empty()).then(|| endpoint.clone()),
    };
    Ok(logline_telemetry::init(&config)?)
}

/// How to reach the bus under a login, and under a name that operators see.
pub(crate) fn bus_config(settings: &Settings, login: Login, name: &str) -> logline_bus::Config {
    let bus = &settings.bus;
    logline_bus::Config {
        url: bus.url.clone(),
        connection_name: format!("logline-{name}"),
        replicas: bus.replicas,
        ingest_bytes_max: bus.ingest_bytes_max,
        user_password: bus.login(login),
        ca_file: (!bus.ca_file.as_os_str().is_empty()).then(|| bus.ca_file.clone()),
        open_inboxes: bus.development,
    }
}

/// The same for a part, named after its login.
fn part_bus_config(settings: &Settings, login: Login) -> logline_bus::Config {
    bus_config(settings, login, login.name())
}

/// How to reach the ledger under one role's login.
pub(crate) fn ledger_config(
    settings: &Settings,
    url: &Hidden,
    part: &str,
) -> logline_ledger::Config {
    logline_ledger::Config {
        url: url.expose().to_owned(),
        connections_max: settings.ledger.connections_max,
        acquire_timeout: ACQUIRE_TIMEOUT,
        application_name: format!("logline-{part}"),
    }
}

/// The key by which the API vouches for readers.
pub(crate) fn identity_key(settings: &Settings) -> Result<IdentityKey> {
    Ok(IdentityKey::from_bytes(key_bytes(
        &settings.ledger.identity_key_hex,
        "ledger.identity_key_hex",
    )?))
}

/// The process's signing key, from a file or the settings.
pub(crate) fn signing_key(settings: &Settings) -> Result<SigningKey> {
    let keys = &settings.keys;
    key(
        &keys.signing_key_file,
        &keys.signing_key_hex,
        "keys.signing_key_hex",
    )
}

fn key(file: &str, seed: &Hidden, name: &str) -> Result<SigningKey> {
    if file.is_empty() {
        return Ok(SigningKey::from_seed(&key_bytes(seed, name)?));
    }
    key_of_file(file)
}

/// The log's key, which has no other place than a file of its own.
fn log_key(settings: &Settings) -> Result<SigningKey> {
    let file = &settings.signer.key_file;
    if file.is_empty() {
        bail!("signer.key_file is not set: `logline keygen FILE` makes one, for the signer alone");
    }
    key_of_file(file)
}

pub(crate) fn key_of_file(file: &str) -> Result<SigningKey> {
    let pem =
        std::fs::read_to_string(file).with_context(|| format!("cannot read the key `{file}`"))?;
    SigningKey::from_pem(&pem).with_context(|| {
        format!("`{file}` holds no Ed25519 key in PKCS#8 PEM; `logline keygen` makes one")
    })
}

fn key_bytes(text: &Hidden, key: &str) -> Result<[u8; 32]> {
    if text.is_empty() {
        bail!("{key} is not set: it wants 64 hexadecimal digits, from a good source of randomness");
    }
    let mut bytes = [0; 32];
    hex::decode_to_slice(text.expose(), &mut bytes)
        .with_context(|| format!("{key} wants 64 hexadecimal digits"))?;
    Ok(bytes)
}

impl Parts {
    /// Connects and starts every role; a bus that is away is waited for.
    pub(crate) async fn start(
        settings: &Settings,
        roles: &[Role],
        shutdown: CancellationToken,
    ) -> Result<Self> {
        let mut parts = Self {
            tasks: JoinSet::new(),
            shutdown,
            api: None,
        };
        let mut checks = Vec::new();
        // Parts with logins of their own wait for the streams, which they may not make.
        if !roles.iter().all(|role| settings.bus.has_own(role.login())) {
            let streams = bus_config(settings, Login::Operator, "streams");
            let bus = connect(&streams, &parts.shutdown).await?;
            for difference in bus.migrate().await.context("cannot create the streams")? {
                tracing::warn!(%difference, "a stream or consumer is not as this release wants it");
            }
            bus.close().await;
        }
        if roles.contains(&Role::Projector) {
            parts.start_projector(settings, &mut checks).await?;
        }
        if roles.contains(&Role::Signer) {
            parts.start_signer(settings, &mut checks).await?;
        }
        let actors: Vec<_> = roles
            .iter()
            .filter_map(|role| match role {
                Role::Observer => Some((role.login(), logline_actors::Role::Observer)),
                Role::Worker => Some((role.login(), logline_actors::Role::Worker)),
                Role::Projector | Role::Signer | Role::Api | Role::Outbox | Role::Callout => None,
            })
            .collect();
        if !actors.is_empty() {
            parts.start_actors(settings, &actors, &mut checks).await?;
        }
        if roles.contains(&Role::Outbox) {
            parts.start_outbox(settings, &mut checks).await?;
        }
        if roles.contains(&Role::Callout) {
            parts.start_callout(settings).await?;
        }
        if roles.contains(&Role::Api) {
            parts.start_api(settings, checks).await?;
        }
        Ok(parts)
    }

    /// Where the API listens, where there is one.
    pub(crate) fn api(&self) -> Option<SocketAddr> {
        self.api
    }

    /// Runs until `stop`, then ends every part. A part that ends before is an error.
    pub(crate) async fn run_until(mut self, stop: impl Future<Output = ()>) -> Result<()> {
        let outcome = tokio::select! {
            () = stop => Ok(()),
            Some(ended) = self.tasks.join_next() => Err(match ended {
                Ok((part, Ok(()))) => anyhow!("the {part} ended by itself"),
                Ok((part, Err(error))) => error.context(format!("the {part} failed")),
                Err(error) => anyhow!(error).context("a part crashed"),
            }),
        };
        self.shutdown.cancel();
        let ended = tokio::time::timeout(STOP_MAX, async {
            while self.tasks.join_next().await.is_some() {}
        })
        .await;
        if ended.is_err() {
            tracing::error!(
                "some parts did not end within {} s and are given up",
                STOP_MAX.as_secs()
            );
        }
        outcome
    }

    async fn start_projector(
        &mut self,
        settings: &Settings,
        checks: &mut Vec<Check>,
    ) -> Result<()> {
        let bus = connect(&part_bus_config(settings, Login::Projector), &self.shutdown).await?;
        let writer = Writer::connect(&ledger_config(
            settings,
            &settings.ledger.projector_url,
            "projector",
        ))?;
        let config = logline_projector::Config {
            shard: 0,
            take_over: Duration::from_millis(settings.projector.take_over_ms),
            ack_wait: ACK_WAIT,
            ack_pending_max: ACK_PENDING_MAX,
            batch_max: settings.projector.batch_max,
            batch_bytes_max: BATCH_BYTES_MAX,
            tenants_cached_max: TENANTS_CACHED_MAX,
            ingest_keep: Duration::from_secs(settings.projector.ingest_keep_s),
            limits: settings.limits(),
        };
        let projector = Projector::new(config, bus, writer);
        #[cfg(debug_assertions)]
        let projector = crate::halting::halting(projector);
        let health = projector.health();
        checks.push(Check::new("projector", move || match &*health.borrow() {
            logline_projector::Health::Degraded { reason } => Err(reason.clone()),
            logline_projector::Health::Standby | logline_projector::Health::Active => Ok(()),
        }));
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            projector.run(shutdown).await;
            ("projector", Ok(()))
        });
        Ok(())
    }

    async fn start_signer(&mut self, settings: &Settings, checks: &mut Vec<Check>) -> Result<()> {
        let witnesses = settings.signer.witnesses.iter().map(Witness::read);
        let witnesses: Result<Vec<_>, String> = witnesses.collect();
        let resources = logline_signer::Resources {
            key: log_key(settings)?,
            bus: connect(&part_bus_config(settings, Login::Signer), &self.shutdown).await?,
            ledger: logline_ledger::Signer::connect(&ledger_config(
                settings,
                &settings.ledger.signer_url,
                "signer",
            ))?,
        };
        let config = logline_signer::Config {
            interval: Duration::from_millis(settings.signer.interval_ms),
            parallel_max: HEADS_PARALLEL_MAX,
            witnesses: witnesses.map_err(anyhow::Error::msg)?,
        };
        let signer = Signer::new(config, resources);
        let health = signer.health();
        checks.push(Check::new("signer", move || match &*health.borrow() {
            logline_signer::Health::Degraded { reason } => Err(reason.clone()),
            logline_signer::Health::Starting => Err("not started yet".to_owned()),
            logline_signer::Health::Active => Ok(()),
        }));
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            signer.run(shutdown).await;
            ("signer", Ok(()))
        });
        Ok(())
    }

    async fn start_outbox(&mut self, settings: &Settings, checks: &mut Vec<Check>) -> Result<()> {
        let relay = Relay::new(
            RelayConfig::STANDARD,
            RelayResources {
                bus: connect(&part_bus_config(settings, Login::Outbox), &self.shutdown).await?,
                outbox: Outbox::connect(&ledger_config(
                    settings,
                    &settings.ledger.outbox_url,
                    "outbox",
                ))?,
                on_step: None,
            },
        );
        let health = relay.health();
        checks.push(Check::new("outbox", move || match &*health.borrow() {
            RelayHealth::Degraded { reason } => Err(reason.clone()),
            RelayHealth::Starting => Err("not started yet".to_owned()),
            RelayHealth::Active => Ok(()),
        }));
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            relay.run(shutdown).await;
            ("outbox", Ok(()))
        });
        Ok(())
    }

    /// Each role with a login of its own on the bus; the sandbox is shared.
    async fn start_actors(
        &mut self,
        settings: &Settings,
        roles: &[(Login, logline_actors::Role)],
        checks: &mut Vec<Check>,
    ) -> Result<()> {
        let sandbox = Sandbox::new(logline_sandbox::Config {
            cache_dir: cache_dir(settings)?,
            instances: settings.sandbox.instances,
            queue: settings.actors.parallel_max,
            memory_bytes_max: settings.sandbox.memory_bytes_max,
        })?;
        let ledger = logline_ledger::Actors::connect(&ledger_config(
            settings,
            &settings.ledger.actor_url,
            "actors",
        ))?;
        for &(login, role) in roles {
            let resources = logline_actors::Resources {
                bus: connect(&part_bus_config(settings, login), &self.shutdown).await?,
                ledger: ledger.clone(),
                sandbox: sandbox.clone(),
                signing_key: signing_key(settings)?,
                on_step: None,
            };
            let actors = Actors::new(actors_config(settings, role), resources);
            let health = actors.health();
            checks.push(Check::new(role.as_str(), move || {
                match health.roles().get(&role) {
                    Some(State::Running) => Ok(()),
                    Some(State::Stopped { reason }) => Err(reason.clone()),
                    Some(State::Starting) => Err("not started yet".to_owned()),
                    Some(State::Restarting) => Err("restarting after a crash".to_owned()),
                    None => Err("not known".to_owned()),
                }
            }));
            let shutdown = self.shutdown.clone();
            self.tasks.spawn(async move {
                (
                    role.as_str(),
                    actors.run(shutdown).await.map_err(Into::into),
                )
            });
        }
        Ok(())
    }

    async fn start_callout(&mut self, settings: &Settings) -> Result<()> {
        let file = &settings.bus.callout_key_file;
        if file.is_empty() {
            bail!(
                "bus.callout_key_file is not set: `logline keygen FILE` makes one, and says under which name the server knows it"
            );
        }
        let bus = connect(&part_bus_config(settings, Login::Callout), &self.shutdown).await?;
        let callout = bus.serve_callout(&key_of_file(file)?).await?;
        let verifier = verifier(settings)?;
        let identify = move |shown: logline_bus::Secret| {
            let verifier = verifier.clone();
            async move { admitted(verifier.verify(shown.expose()).await) }
        };
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            callout.run(identify, shutdown).await;
            ("callout", Ok(()))
        });
        Ok(())
    }

    async fn start_api(&mut self, settings: &Settings, checks: Vec<Check>) -> Result<()> {
        let resources = logline_api::Resources {
            bus: connect(&part_bus_config(settings, Login::Api), &self.shutdown).await?,
            reader: Reader::connect(
                &ledger_config(settings, &settings.ledger.reader_url, "api"),
                identity_key(settings)?,
            )?,
            access: verifier(settings)?,
            limits: settings.limits(),
            checks,
        };
        let api = &settings.api;
        let config = logline_api::Config {
            listen: api.listen,
            rate: rate(api),
            cors_origins: api.cors_origins.clone(),
            span_bytes_max: api.span_bytes_max,
            batch_bytes_max: api.batch_bytes_max,
            batch_entries_max: api.batch_entries_max,
            request_timeout_ms: api.request_timeout_ms,
            sealed_wait_ms: api.sealed_wait_ms,
            heartbeat_ms: api.heartbeat_ms,
            slow_reader_ms: api.slow_reader_ms,
            streams_max: api.streams_max,
            streams_per_reader_max: api.streams_per_reader_max,
            streams_anonymous_max: api.streams_anonymous_max,
            connections_max: api.connections_max,
            connections_per_address_max: api.connections_per_address_max,
            write_stall_ms: api.write_stall_ms,
            drain_ms: api.drain_ms,
        };
        let service = resources
            .bus
            .serve_publish(settings.limits())
            .await
            .context("cannot serve publishing on the bus")?;
        let stopped = self.shutdown.clone();
        self.tasks.spawn(async move {
            service.run(stopped).await;
            ("publishing service", Ok(()))
        });
        let replay = resources.bus.serve_replay().await;
        let replay = replay.context("cannot serve the replay on the bus")?;
        let stopped = self.shutdown.clone();
        self.tasks.spawn(async move {
            replay.run(stopped).await;
            ("replay", Ok(()))
        });
        let bound = Api::bind(config, resources).await?;
        self.api = Some(bound.addr());
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            bound.run(shutdown).await;
            ("api", Ok(()))
        });
        Ok(())
    }
}

fn actors_config(settings: &Settings, role: logline_actors::Role) -> logline_actors::Config {
    logline_actors::Config {
        roles: vec![role],
        slow_ms: settings.actors.slow_ms,
        timeout_ms: settings.actors.timeout_ms,
        concurrency_max: settings.actors.parallel_max,
        memory_bytes_max: settings.sandbox.memory_bytes_max,
        limits: settings.limits(),
        in_flight_max: IN_FLIGHT_MAX,
        // What a dead worker held is due again before its place changes hands, half of `take_over` after its death at the
        // earliest: so the next one begins with it, and each function's requests stay in order.
        ack_wait: Duration::from_millis(settings.projector.take_over_ms) * 3 / 8,
        take_over: Duration::from_millis(settings.projector.take_over_ms),
        deliveries_max: DELIVERIES_MAX,
        backoff: Backoff {
            first: BACKOFF_FIRST,
            longest: BACKOFF_LONGEST,
        },
        crashes_max: CRASHES_MAX,
        crash_window: CRASH_WINDOW,
    }
}

/// No limit where it is 0 a second.
fn rate(api: &config::Api) -> Option<logline_api::Rate> {
    Some(logline_api::Rate {
        per_second: NonZeroU32::new(api.rate_per_second)?,
        burst: NonZeroU32::new(api.rate_burst)?,
    })
}

/// Whom tokens stand for, for whoever asks.
pub(crate) fn verifier(settings: &Settings) -> Result<Verifier> {
    let config = ledger_config(settings, &settings.ledger.reader_url, "access");
    let ledger = Reader::connect(&config, identity_key(settings)?)?;
    Ok(Verifier::new(settings.access()?, ledger)?)
}

/// What the bus is told of a token.
fn admitted(verdict: Result<Access, Refused>) -> Option<Admitted> {
    match verdict {
        Ok(access) => Some(Admitted {
            reader: access.reader(),
            expires_at: access.expires_at,
        }),
        Err(Refused::Ledger(error)) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "an API key cannot be looked up");
            None
        }
        Err(_) => None,
    }
}

/// Connects to the bus; one that is away is tried again until `shutdown`.
async fn connect(config: &logline_bus::Config, shutdown: &CancellationToken) -> Result<Bus> {
    let mut failures = 0_u32;
    loop {
        match Bus::connect(config).await {
            Ok(bus) => return Ok(bus),
            Err(error @ logline_bus::Error::Connect { .. }) => {
                failures += 1;
                tracing::warn!(url = config.address(), error = %error, "the bus is away");
                tokio::select! {
                    () = shutdown.cancelled() => bail!(error),
                    () = pause(failures) => {}
                }
            }
            Err(error) => bail!(error),
        }
    }
}

/// Waits after so many failures in a row, twice as long each time.
#[expect(
    clippy::disallowed_methods,
    reason = "bounded backoff after a failure, the exception that EXE-6 allows"
)]
pub(crate) async fn pause(failures: u32) {
    let doubled = BACKOFF_FIRST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    tokio::time::sleep(doubled.min(BACKOFF_LONGEST)).await;
}

fn cache_dir(settings: &Settings) -> Result<PathBuf> {
    if !settings.sandbox.cache_dir.as_os_str().is_empty() {
        return Ok(settings.sandbox.cache_dir.clone());
    }
    Ok(settings
        .user_cache_dir()
        .context("neither sandbox.cache_dir, XDG_CACHE_HOME nor HOME is set")?
        .join("sandbox"))
}
