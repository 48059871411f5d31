//! The streams: their settings, made and compared in one place (BUS-4, BUS-5, BUS-11).

use std::time::Duration;

use async_nats::{
    Request, RequestErrorKind,
    jetstream::{
        Error as ServerError, ErrorCode,
        response::Response,
        stream::{Config, DiscardPolicy, Info, PersistenceMode, RetentionPolicy, StorageType},
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{Bus, Error};

pub(crate) const INGEST: &str = "INGEST";
pub(crate) const TIMELINE: &str = "TIMELINE";
pub(crate) const TIMERS: &str = "TIMERS";
pub(crate) const CHECKPOINTS: &str = "CHECKPOINTS";
pub(crate) const QUARANTINE: &str = "QUARANTINE";
const DEADLETTER: &str = "DEADLETTER";

/// Largest message of `INGEST`, headers included (SPAN-2). The server itself takes a little more, so that a refused
/// one still fits `QUARANTINE` with the reason.
const INGEST_MESSAGE_BYTES_MAX: i32 = 1024 * 1024;

/// The least that the server accepts: no stream but `QUARANTINE` relies on message ids, and within this window a
/// guessed one suppresses another's message.
const NO_WINDOW: Duration = Duration::from_millis(100);

/// How long a refusal is known by its key: longer than any restart between keeping it and recording that.
const QUARANTINE_WINDOW: Duration = Duration::from_secs(600);

/// Dead letters kept, the oldest dropped first: each is a small notice about a message which is still on its stream.
const DEADLETTERS_MAX: i64 = 1_000_000;

/// Consumers of `TIMELINE`: every stream of a reader has one, and the API may be told to have as many. A server from 2.15 on
/// allows a thousand where a stream names no number.
const TIMELINE_CONSUMERS_MAX: i32 = 100_000;

/// Whose setting differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A stream.
    Stream(String),
    /// A consumer of a stream.
    Consumer {
        /// The stream.
        stream: String,
        /// The consumer.
        name: String,
    },
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stream(name) => write!(f, "stream {name}"),
            Self::Consumer { stream, name } => write!(f, "consumer {name} of stream {stream}"),
        }
    }
}

/// A setting that was found different from what this release wants; it is reported and left as it is (BUS-11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Whose setting it is.
    pub holder: Holder,
    /// Name of the setting, as the server calls it.
    pub setting: String,
    /// What this release wants, as JSON.
    pub wanted: String,
    /// What the server has, as JSON.
    pub found: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            holder,
            setting,
            wanted,
            found,
        } = self;
        write!(f, "{holder}: {setting} is {found}, wanted {wanted}")
    }
}

/// How full a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// Number of the first message kept; one above `last` where none is.
    pub first: u64,
    /// Number of the last message ever taken.
    pub last: u64,
    /// Messages kept.
    pub messages: u64,
    /// Bytes kept.
    pub bytes: u64,
    /// Bytes that may be kept, where there is a bound.
    pub bytes_max: Option<u64>,
}

/// The settings of every stream.
fn wanted(replicas: usize, ingest_bytes_max: i64) -> [Config; 6] {
    let stream = |name: &str, description: &str, subjects: &[&str]| Config {
        name: name.to_owned(),
        description: Some(description.to_owned()),
        subjects: subjects.iter().map(|&it| it.to_owned()).collect(),
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        discard: DiscardPolicy::Old,
        num_replicas: replicas,
        duplicate_window: NO_WINDOW,
        max_bytes: -1,
        max_messages: -1,
        max_messages_per_subject: -1,
        max_message_size: -1,
        max_consumers: -1,
        allow_direct: true,
        ..Config::default()
    };
    [
        // No schedules, roll-ups or TTL: with each of them a client reaches beyond its own address (BUS-4).
        Config {
            discard: DiscardPolicy::New,
            max_bytes: ingest_bytes_max,
            max_message_size: INGEST_MESSAGE_BYTES_MAX,
            deny_delete: true,
            ..stream(INGEST, "received, waiting to be sealed", &["ingest.*.*.>"])
        },
        // It can be made again from the ledger, so a power cut may cost its newest messages (BUS-5).
        Config {
            persist_mode: (replicas == 1).then_some(PersistenceMode::Async),
            deny_delete: true,
            max_consumers: TIMELINE_CONSUMERS_MAX,
            ..stream(TIMELINE, "sealed spans, in order", &["timeline.*.*.*.*.>"])
        },
        Config {
            allow_message_schedules: true,
            allow_message_ttl: true,
            allow_rollup: true,
            ..stream(
                TIMERS,
                "timers that are set and those that fired",
                &["timer.set.*.*.*", "timer.due.*.*.*"],
            )
        },
        Config {
            max_messages_per_subject: 1,
            ..stream(
                CHECKPOINTS,
                "the newest signed head of each tenant",
                &["ledger.checkpoint.*"],
            )
        },
        // An operator removes what was mended or discarded, and a span says so.
        Config {
            duplicate_window: QUARANTINE_WINDOW,
            ..stream(QUARANTINE, "refused messages, raw", &["quarantine.*.*"])
        },
        Config {
            max_messages: DEADLETTERS_MAX,
            ..stream(
                DEADLETTER,
                "messages that no consumer could handle",
                &[
                    "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>",
                    "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>",
                ],
            )
        },
    ]
}

impl Bus {
    /// Makes the streams that are missing and says where the others differ from what is wanted.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked, or refuses to make a stream.
    pub async fn migrate(&self) -> Result<Vec<Difference>, Error> {
        self.examine(true).await
    }

    /// Says where the streams differ from what is wanted, and changes nothing.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked.
    pub async fn differences(&self) -> Result<Vec<Difference>, Error> {
        self.examine(false).await
    }

    async fn examine(&self, make: bool) -> Result<Vec<Difference>, Error> {
        let mut differences = Vec::new();
        for config in wanted(self.inner.replicas, self.inner.ingest_bytes_max) {
            let name = config.name.clone();
            let info: Option<Value> = self
                .ask_unless(
                    format!("STREAM.INFO.{name}"),
                    &(),
                    ErrorCode::STREAM_NOT_FOUND,
                )
                .await?;
            match info {
                Some(info) => {
                    let found = info.get("config").unwrap_or(&Value::Null);
                    differences.extend(compare(Holder::Stream(name), &config, found));
                }
                None if !make => differences.push(Difference {
                    holder: Holder::Stream(name),
                    setting: "existence".to_owned(),
                    wanted: "true".to_owned(),
                    found: "false".to_owned(),
                }),
                None => {
                    tracing::info!(stream = name, "making a stream");
                    let _: Value = self.ask(format!("STREAM.CREATE.{name}"), &config).await?;
                }
            }
        }
        Ok(differences)
    }

    /// How full `INGEST` is.
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked.
    pub async fn ingest_state(&self) -> Result<StreamState, Error> {
        self.stream_state(INGEST).await
    }

    /// Removes the messages of `INGEST` below a number, which must all be sealed (BUS-4).
    ///
    /// # Errors
    ///
    /// Where the server cannot be asked.
    pub async fn purge_ingest(&self, below: u64) -> Result<(), Error> {
        let request = serde_json::json!({ "seq": below });
        let _: Value = self.ask(format!("STREAM.PURGE.{INGEST}"), &request).await?;
        Ok(())
    }

    pub(crate) async fn stream_state(&self, stream: &str) -> Result<StreamState, Error> {
        let info: Info = self.ask(format!("STREAM.INFO.{stream}"), &()).await?;
        Ok(StreamState {
            first: info.state.first_sequence.max(1),
            last: info.state.last_sequence,
            messages: info.state.messages,
            bytes: info.state.bytes,
            bytes_max: u64::try_from(info.config.max_bytes)
                .ok()
                .filter(|&max| max > 0),
        })
    }

    /// Asks the server's JetStream API.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        subject: String,
        request: &impl Serialize,
    ) -> Result<T, Error> {
        match self.ask_raw(subject, request).await? {
            Ok(answer) => Ok(answer),
            Err(error) => Err(refused(&error)),
        }
    }

    /// Asks the server's JetStream API about something that may be missing.
    pub(crate) async fn ask_unless<T: DeserializeOwned>(
        &self,
        subject: String,
        request: &impl Serialize,
        missing: ErrorCode,
    ) -> Result<Option<T>, Error> {
        match self.ask_raw(subject, request).await? {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.error_code() == missing => Ok(None),
            Err(error) => Err(refused(&error)),
        }
    }

    async fn ask_raw<T: DeserializeOwned>(
        &self,
        subject: String,
        request: &impl Serialize,
    ) -> Result<Result<T, ServerError>, Error> {
        let unreadable =
            |source: serde_json::Error| Error::client("asking the server")(source.into());
        let body = serde_json::to_vec(request).map_err(unreadable)?;
        // Where nothing is asked beyond the subject, the server wants no body at all.
        let body = if body == b"null" { Vec::new() } else { body };
        let subject = format!("$JS.API.{subject}");
        let request = Request::new().payload(body.into());
        match self
            .inner
            .client
            .send_request(subject.clone(), request)
            .await
        {
            Ok(answer) => match serde_json::from_slice(&answer.payload).map_err(unreadable)? {
                Response::Ok(answer) => Ok(Ok(answer)),
                Response::Err { error } => Ok(Err(error)),
            },
            Err(error) => Err(match error.kind() {
                RequestErrorKind::TimedOut => Error::Timeout,
                RequestErrorKind::NoResponders => Error::NoStream { subject },
                _ => Error::client("asking the server")(error.into()),
            }),
        }
    }
}

fn refused(error: &ServerError) -> Error {
    Error::Refused {
        code: error.error_code().0,
        description: error.to_string(),
    }
}

/// The settings in which two configurations differ. What is absent and what is off are the same.
pub(crate) fn compare(holder: Holder, wanted: &impl Serialize, found: &Value) -> Vec<Difference> {
    let wanted = serde_json::to_value(wanted).unwrap_or_default();
    let (Value::Object(wanted), Value::Object(found)) = (&wanted, found) else {
        return Vec::new();
    };
    let mut names: Vec<&String> = wanted.keys().chain(found.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let setting = |settings: &serde_json::Map<String, Value>, name: &str| {
        settings.get(name).filter(|&value| !is_off(value)).cloned()
    };
    let differs = |name: &&String| {
        // The server keeps its own notes in the metadata.
        name.as_str() != "metadata" && setting(wanted, name) != setting(found, name)
    };
    names
        .into_iter()
        .filter(differs)
        .map(|name| Difference {
            holder: holder.clone(),
            setting: name.clone(),
            wanted: setting(wanted, name).unwrap_or_default().to_string(),
            found: setting(found, name).unwrap_or_default().to_string(),
        })
        .collect()
}

fn is_off(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => text.is_empty() || text == "none",
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}
