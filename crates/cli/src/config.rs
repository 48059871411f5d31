//! The settings of a process: parsed and validated once, all faults reported together, then passed by value.

mod access;
mod layers;

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};
use logline_bus::{Secret, access::Login};
use logline_proof::{Algorithm, VerifierKey};
use logline_span::Limits;
use serde::{Deserialize, Deserializer};

use layers::Given;

use crate::{args::Global, stack};

pub(crate) use self::access::{IssuerSettings, Roles};

/// Every setting; `config.default.toml` says what each means.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) log: Log,
    pub(crate) bus: Bus,
    pub(crate) span: Span,
    pub(crate) ledger: Ledger,
    pub(crate) keys: Keys,
    pub(crate) projector: Projector,
    pub(crate) signer: Signer,
    pub(crate) actors: Actors,
    pub(crate) sandbox: Sandbox,
    pub(crate) access: access::Access,
    pub(crate) api: Api,
    /// The user's cache directory, from the environment.
    #[serde(skip)]
    user_cache_dir: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) filter: String,
    pub(crate) format: LogFormat,
    pub(crate) otlp_endpoint: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Json,
    Text,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bus {
    pub(crate) url: String,
    pub(crate) ca_file: PathBuf,
    pub(crate) user: String,
    pub(crate) password: Hidden,
    pub(crate) projector_password: Hidden,
    pub(crate) signer_password: Hidden,
    pub(crate) observer_password: Hidden,
    pub(crate) worker_password: Hidden,
    pub(crate) api_password: Hidden,
    pub(crate) outbox_password: Hidden,
    pub(crate) callout_password: Hidden,
    pub(crate) callout_key_file: String,
    pub(crate) replicas: usize,
    pub(crate) ingest_bytes_max: i64,
    pub(crate) development: bool,
}

impl Bus {
    /// The passwords of the parts' own logins.
    fn part_passwords(&self) -> impl Iterator<Item = (Login, &Hidden)> {
        Login::ALL
            .into_iter()
            .filter_map(|login| Some((login, self.part_password(login)?)))
    }

    /// Where the configuration keeps the password of a part's own login.
    fn part_password(&self, login: Login) -> Option<&Hidden> {
        match login {
            Login::Operator => None,
            Login::Projector => Some(&self.projector_password),
            Login::Signer => Some(&self.signer_password),
            Login::Observer => Some(&self.observer_password),
            Login::Worker => Some(&self.worker_password),
            Login::Api => Some(&self.api_password),
            Login::Outbox => Some(&self.outbox_password),
            Login::Callout => Some(&self.callout_password),
        }
    }

    /// Whether the part has a login of its own.
    pub(crate) fn has_own(&self, login: Login) -> bool {
        self.part_password(login).is_some_and(|it| !it.is_empty())
    }

    /// The user and password under which a part connects: its own, else the operator's, else none.
    pub(crate) fn login(&self, login: Login) -> Option<(String, Secret)> {
        let own = self.part_password(login).filter(|it| !it.is_empty());
        let (user, password) = match own {
            Some(own) => (login.name(), own),
            None => (self.user.as_str(), &self.password),
        };
        (!user.is_empty()).then(|| (user.to_owned(), Secret::new(password.expose())))
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Span {
    pub(crate) canonical_bytes_max: usize,
    pub(crate) depth_max: usize,
}

/// So that a sealed span, with its proof, fits a message of the bus.
const CANONICAL_BYTES_CEILING: u64 = 1_000_000;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ledger {
    pub(crate) log_name: String,
    pub(crate) admin_url: Hidden,
    pub(crate) projector_url: Hidden,
    pub(crate) reader_url: Hidden,
    pub(crate) actor_url: Hidden,
    pub(crate) signer_url: Hidden,
    pub(crate) outbox_url: Hidden,
    pub(crate) verifier_url: Hidden,
    pub(crate) projector_password: Hidden,
    pub(crate) reader_password: Hidden,
    pub(crate) actor_password: Hidden,
    pub(crate) signer_password: Hidden,
    pub(crate) outbox_password: Hidden,
    pub(crate) verifier_password: Hidden,
    pub(crate) identity_key_hex: Hidden,
    pub(crate) connections_max: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Keys {
    pub(crate) signing_key_hex: Hidden,
    pub(crate) signing_key_file: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Projector {
    pub(crate) batch_max: usize,
    pub(crate) ingest_keep_s: u64,
    pub(crate) take_over_ms: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Signer {
    pub(crate) key_file: String,
    pub(crate) interval_ms: u64,
    pub(crate) witnesses: Vec<Witness>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Witness {
    pub(crate) url: String,
    /// Its verifier key, `<name>+<id>+<base64>`.
    pub(crate) key: String,
}

impl Witness {
    /// The witness as the signer knows it.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub(crate) fn read(&self) -> Result<logline_signer::Witness, String> {
        let Self { url, key } = self;
        if !(url.starts_with("https://") || url.starts_with("http://")) {
            return Err(format!(
                "signer.witnesses: `{url}` is no URL of http or https"
            ));
        }
        let key: VerifierKey = key
            .parse()
            .map_err(|error| format!("signer.witnesses: the key of {url}: {error}"))?;
        if key.algorithm() != Algorithm::CosignatureV1 {
            return Err(format!(
                "signer.witnesses: the key of {url} is of a log; a witness has one for cosignatures"
            ));
        }
        let url = url.clone();
        Ok(logline_signer::Witness { url, key })
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Actors {
    pub(crate) slow_ms: u64,
    pub(crate) timeout_ms: u64,
    pub(crate) parallel_max: usize,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sandbox {
    pub(crate) cache_dir: PathBuf,
    pub(crate) instances: usize,
    pub(crate) memory_bytes_max: usize,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Api {
    pub(crate) listen: SocketAddr,
    pub(crate) span_bytes_max: usize,
    pub(crate) batch_bytes_max: usize,
    pub(crate) batch_entries_max: usize,
    pub(crate) request_timeout_ms: u64,
    pub(crate) sealed_wait_ms: u64,
    pub(crate) heartbeat_ms: u64,
    pub(crate) slow_reader_ms: u64,
    pub(crate) rate_per_second: u32,
    pub(crate) rate_burst: u32,
    pub(crate) streams_max: usize,
    pub(crate) streams_per_reader_max: usize,
    pub(crate) streams_anonymous_max: usize,
    pub(crate) connections_max: usize,
    pub(crate) connections_per_address_max: usize,
    pub(crate) write_stall_ms: u64,
    pub(crate) drain_ms: u64,
    pub(crate) cors_origins: Vec<String>,
    pub(crate) tokens: Vec<Token>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Token {
    /// BLAKE3 of the token, `blake3:` and 64 hexadecimal digits.
    pub(crate) digest: String,
    pub(crate) tenant: String,
    pub(crate) principal: String,
    #[serde(default)]
    pub(crate) roles: Vec<String>,
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Hidden(Secret);

impl Hidden {
    /// Wraps a secret.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(Secret::new(text))
    }

    /// The text itself, for handing it on.
    pub(crate) fn expose(&self) -> &str {
        self.0.expose()
    }

    /// Whether nothing was given.
    pub(crate) fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "unset" } else { "set" })
    }
}

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// Name of the file in which `logline dev` leaves the settings of its stack.
pub(crate) const STACK_FILE: &str = "config.toml";

/// The settings of the stack at hand: of `--config` where it is given, else of the development stack.
///
/// # Errors
/// As [`load`]; where there is no stack either, the environment must name the servers.
pub(crate) fn load_for_stack(global: &Global) -> Result<Settings> {
    if global.config.is_some() {
        return load(global);
    }
    let file = stack::directory(global.dir.as_deref())?.join(STACK_FILE);
    let file = file.is_file().then_some(file);
    load_from(file.as_deref().map(|file| (file, Given::Stack)))
}

/// Reads every layer.
///
/// # Errors
/// All faults at once, one a line.
pub(crate) fn load(global: &Global) -> Result<Settings> {
    let file = global.config.as_deref();
    load_from(file.map(|file| (file, Given::Configuration)))
}

fn load_from(file: Option<(&Path, Given)>) -> Result<Settings> {
    let environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let settings = layers::merge(file, &environment).and_then(|table| {
        let mut settings: Settings = table
            .try_into()
            .map_err(|error: toml::de::Error| vec![error.message().to_owned()])?;
        let variable = |name: &str| {
            environment
                .iter()
                .find(|(given, value)| given == name && !value.is_empty())
                .map(|(_, value)| PathBuf::from(value))
        };
        settings.user_cache_dir = variable("XDG_CACHE_HOME")
            .or_else(|| Some(variable("HOME")?.join(".cache")))
            .map(|caches| caches.join("logline"));
        let faults = settings.faults();
        if faults.is_empty() {
            Ok(settings)
        } else {
            Err(faults)
        }
    });
    match settings {
        Ok(settings) => Ok(settings),
        Err(faults) => bail!(
            "the configuration does not hold:\n  {}",
            faults.join("\n  ")
        ),
    }
}

impl Settings {
    /// What differs from the defaults in a private stack, as a configuration file.
    pub(crate) fn stack_file(&self) -> String {
        let ledger = &self.ledger;
        let keys = [
            ("admin_url", &ledger.admin_url),
            ("projector_url", &ledger.projector_url),
            ("reader_url", &ledger.reader_url),
            ("actor_url", &ledger.actor_url),
            ("signer_url", &ledger.signer_url),
            ("outbox_url", &ledger.outbox_url),
            ("verifier_url", &ledger.verifier_url),
            ("identity_key_hex", &ledger.identity_key_hex),
        ];
        let keys = keys.map(|(key, value)| {
            (
                key.to_owned(),
                toml::Value::String(value.expose().to_owned()),
            )
        });
        let mut ledger: toml::Table = keys.into_iter().collect();
        ledger.insert("log_name".to_owned(), self.ledger.log_name.clone().into());
        let bus: toml::Table = [
            ("url".to_owned(), self.bus.url.clone().into()),
            ("user".to_owned(), self.bus.user.clone().into()),
            ("password".to_owned(), self.bus.password.expose().into()),
            ("replicas".to_owned(), integer(self.bus.replicas as u64)),
            (
                "ingest_bytes_max".to_owned(),
                self.bus.ingest_bytes_max.into(),
            ),
        ]
        .into_iter()
        .chain(self.bus.part_passwords().map(|(part, password)| {
            (
                format!("{}_password", part.name()),
                password.expose().into(),
            )
        }))
        .collect();
        let signing = self.keys.signing_key_hex.expose().to_owned();
        let keys: toml::Table = [("signing_key_hex".to_owned(), signing.into())]
            .into_iter()
            .collect();
        let signer: toml::Table = [("key_file".to_owned(), self.signer.key_file.clone().into())]
            .into_iter()
            .collect();
        let span: toml::Table = [
            (
                "canonical_bytes_max".to_owned(),
                integer(self.span.canonical_bytes_max as u64),
            ),
            ("depth_max".to_owned(), integer(self.span.depth_max as u64)),
        ]
        .into_iter()
        .collect();
        let sections = [
            ("access", self.access.section()),
            ("bus", bus),
            ("keys", keys),
            ("ledger", ledger),
            ("signer", signer),
            ("span", span),
        ];
        let table: toml::Table = sections
            .into_iter()
            .map(|(name, section)| (name.to_owned(), section.into()))
            .collect();
        format!(
            "# Written by `logline dev` at every start: the servers and secrets of this stack.\n{table}"
        )
    }

    /// The bounds of a span.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            canonical_bytes_max: self.span.canonical_bytes_max,
            depth_max: self.span.depth_max,
            ..Limits::STANDARD
        }
    }

    /// Where this user's caches are.
    pub(crate) fn user_cache_dir(&self) -> Option<PathBuf> {
        self.user_cache_dir.clone()
    }

    /// Keys of numbers with what each may be at least and at most.
    fn bounds(&self) -> impl Iterator<Item = (&'static str, u64, u64, u64)> + use<> {
        [
            ("bus.replicas", self.bus.replicas as u64, 1, 5),
            (
                "ledger.connections_max",
                u64::from(self.ledger.connections_max),
                1,
                100,
            ),
            (
                "projector.batch_max",
                self.projector.batch_max as u64,
                1,
                10_000,
            ),
            (
                "projector.take_over_ms",
                self.projector.take_over_ms,
                1_000,
                60_000,
            ),
            (
                "span.canonical_bytes_max",
                self.span.canonical_bytes_max as u64,
                1 << 10,
                CANONICAL_BYTES_CEILING,
            ),
            (
                "span.depth_max",
                self.span.depth_max as u64,
                2,
                Limits::DEPTH_CEILING as u64,
            ),
            // A head within a second of sealing (LED-8).
            ("signer.interval_ms", self.signer.interval_ms, 10, 800),
            ("actors.slow_ms", self.actors.slow_ms, 1, 3_600_000),
            ("actors.timeout_ms", self.actors.timeout_ms, 1, 3_600_000),
            (
                "actors.parallel_max",
                self.actors.parallel_max as u64,
                1,
                1_000,
            ),
            ("sandbox.instances", self.sandbox.instances as u64, 1, 1_000),
            (
                "sandbox.memory_bytes_max",
                self.sandbox.memory_bytes_max as u64,
                4 << 20,
                1 << 30,
            ),
        ]
        .into_iter()
        .chain(self.api.bounds())
    }

    fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> = self
            .bounds()
            .filter(|(_, value, least, most)| value < least || value > most)
            .map(|(key, value, least, most)| {
                format!("{key} is {value}, which is not within {least} to {most}")
            })
            .collect();
        if self.bus.ingest_bytes_max < 16 << 20 {
            faults.push(
                "bus.ingest_bytes_max is below 16 MiB, which a few large spans fill".to_owned(),
            );
        }
        if let Err(error) = self.access() {
            faults.push(format!("{error:#}"));
        }
        let witnesses = self.signer.witnesses.iter().map(Witness::read);
        faults.extend(witnesses.filter_map(Result::err));
        let hex = [
            ("ledger.identity_key_hex", &self.ledger.identity_key_hex),
            ("keys.signing_key_hex", &self.keys.signing_key_hex),
        ];
        for (key, value) in hex {
            if !value.is_empty()
                && (value.expose().len() != 64 || hex::decode(value.expose()).is_err())
            {
                faults.push(format!("{key} wants 64 hexadecimal digits"));
            }
        }
        faults
    }
}

impl Api {
    /// As [`Settings::bounds`].
    fn bounds(&self) -> [(&'static str, u64, u64, u64); 16] {
        [
            (
                "api.span_bytes_max",
                self.span_bytes_max as u64,
                1_024,
                1_048_576,
            ),
            (
                "api.batch_bytes_max",
                self.batch_bytes_max as u64,
                1_024,
                268_435_456,
            ),
            (
                "api.batch_entries_max",
                self.batch_entries_max as u64,
                1,
                100_000,
            ),
            (
                "api.request_timeout_ms",
                self.request_timeout_ms,
                100,
                600_000,
            ),
            ("api.sealed_wait_ms", self.sealed_wait_ms, 1, 60_000),
            ("api.heartbeat_ms", self.heartbeat_ms, 100, 600_000),
            ("api.slow_reader_ms", self.slow_reader_ms, 100, 600_000),
            (
                "api.rate_per_second",
                u64::from(self.rate_per_second),
                0,
                1_000_000,
            ),
            ("api.rate_burst", u64::from(self.rate_burst), 1, 1_000_000),
            ("api.streams_max", self.streams_max as u64, 1, 100_000),
            (
                "api.streams_per_reader_max",
                self.streams_per_reader_max as u64,
                1,
                100_000,
            ),
            (
                "api.streams_anonymous_max",
                self.streams_anonymous_max as u64,
                0,
                100_000,
            ),
            (
                "api.connections_per_address_max",
                self.connections_per_address_max as u64,
                1,
                1_000_000,
            ),
            (
                "api.connections_max",
                self.connections_max as u64,
                1,
                1_000_000,
            ),
            ("api.write_stall_ms", self.write_stall_ms, 100, 600_000),
            ("api.drain_ms", self.drain_ms, 0, 60_000),
        ]
    }
}

/// Every number of ours has bounds far below the largest integer of TOML.
fn integer(number: u64) -> toml::Value {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> Settings {
        layers::merge(None, &[]).unwrap().try_into().unwrap()
    }

    #[test]
    fn the_built_in_defaults_hold() {
        assert_eq!(defaults().faults(), Vec::<String>::new());
    }

    #[test]
    fn all_bounds_are_checked_together_and_secrets_stay_hidden() {
        let mut settings = defaults();
        settings.bus.replicas = 0;
        settings.sandbox.memory_bytes_max = 1;
        settings.keys.signing_key_hex = Hidden::new("abc");
        for (url, key) in [
            (
                "w.example",
                "w.example+96432f70+BE0wrYNLz97Dg8iiKhPgJgzg5GyBWKNQY5CN3mzFZCqT",
            ),
            ("https://w.example", "w.example"),
            // A log's own key.
            (
                "https://w.example",
                "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            ),
        ] {
            let (url, key) = (url.to_owned(), key.to_owned());
            settings.signer.witnesses.push(Witness { url, key });
        }
        assert_eq!(settings.faults().len(), 6);
        assert!(!format!("{settings:?}").contains("abc"));
    }
}
