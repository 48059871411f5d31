//! The auth callout: the server asks who a client is, and is told what that client may do (BUS-7, DEP-3).
//!
//! The question and the answer are JSON Web Tokens as NATS signs them: `ed25519-nkey`, keys in the nkey form
//! (NATS ADR-26).

use std::time::Duration;

use async_nats::{Message, Subscriber};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{Stream, StreamExt};
use logline_span::{Reader, SigningKey, Timestamp, reserved};
use nkeys::{KeyPair, KeyPairType};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    Bus, Error, Secret,
    access::{CLIENT_ACCOUNT, Permissions, client_permissions},
    consumer::pause,
};

/// Where the server asks.
const QUESTIONS: &str = "$SYS.REQ.USER.AUTH";
/// Those who answer share the questions.
const GROUP: &str = "logline";
/// Questions that are answered at the same time.
const PARALLEL_MAX: usize = 64;
/// After this long a client is asked again who it is, whatever its token says: so a revoked one loses the bus.
const SESSION_MAX: Duration = Duration::from_secs(3600);
/// No token is longer; the rest of what a client sends with it is not read.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Who a token's holder is, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The identity for which the bus is opened.
    pub reader: Reader,
    /// When the token ends; none for one without an end.
    pub expires_at: Option<Timestamp>,
}

/// Answers the server's questions about clients.
pub struct Callout {
    bus: Bus,
    key: KeyPair,
    questions: Subscriber,
}

/// The server's question, as far as it matters here.
#[derive(Deserialize)]
struct Question {
    nats: Asked,
}

#[derive(Deserialize)]
struct Asked {
    user_nkey: String,
    server_id: Server,
    #[serde(default)]
    connect_opts: Shown,
}

#[derive(Deserialize)]
struct Server {
    id: String,
}

/// What the client showed: a token of its own, or one in place of a password.
#[derive(Default, Deserialize)]
struct Shown {
    #[serde(default)]
    auth_token: String,
    #[serde(default)]
    pass: String,
    /// Some clients take what stands before the `@` of an address for a user's name.
    #[serde(default)]
    user: String,
}

#[derive(Serialize)]
struct Claims<'a> {
    jti: String,
    iat: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    iss: String,
    sub: &'a str,
    aud: &'a str,
    name: &'a str,
    nats: Value,
}

/// The name under which a server knows the key that answers for its clients (`auth_callout { issuer: … }`).
///
/// # Errors
///
/// None for a key; the library that makes the name says that it could fail.
pub fn issuer(key: &SigningKey) -> Result<String, Error> {
    Ok(key_pair(key)?.public_key())
}

fn key_pair(key: &SigningKey) -> Result<KeyPair, Error> {
    KeyPair::new_from_raw(KeyPairType::Account, key.to_seed())
        .map_err(|source| Error::client("reading the callout's key")(Box::new(source)))
}

impl Bus {
    /// Takes the server's questions about clients, under the key that the server was told to believe. They are answered
    /// once [`Callout::run`] is awaited.
    ///
    /// # Errors
    ///
    /// Where the client cannot subscribe.
    pub async fn serve_callout(&self, key: &SigningKey) -> Result<Callout, Error> {
        Ok(Callout {
            bus: self.clone(),
            key: key_pair(key)?,
            questions: questions(self).await?,
        })
    }
}

async fn questions(bus: &Bus) -> Result<Subscriber, Error> {
    bus.inner
        .client
        .queue_subscribe(QUESTIONS, GROUP.to_owned())
        .await
        .map_err(|source| Error::client("subscribing to the server's questions")(source.into()))
}

impl Callout {
    /// Answers until it is told to stop. `identify` says whose a token is, `None` where it is nobody's.
    pub async fn run<F>(self, identify: impl Fn(Secret) -> F, shutdown: CancellationToken)
    where
        F: Future<Output = Option<Admitted>>,
    {
        let Self {
            bus,
            key,
            mut questions,
        } = self;
        let mut failures = 0;
        loop {
            let taken = questions.by_ref().take_until(shutdown.cancelled());
            answer_all(&bus, &key, taken, &identify).await;
            if shutdown.is_cancelled() || bus.is_closed() {
                return;
            }
            questions = match self::questions(&bus).await {
                Ok(questions) => {
                    failures = 0;
                    questions
                }
                Err(error) => {
                    tracing::warn!(%error, "the server's questions about clients cannot be taken yet");
                    failures += 1;
                    pause(&bus, failures).await;
                    continue;
                }
            };
        }
    }
}

async fn answer_all<F>(
    bus: &Bus,
    key: &KeyPair,
    questions: impl Stream<Item = Message>,
    identify: &impl Fn(Secret) -> F,
) where
    F: Future<Output = Option<Admitted>>,
{
    questions
        .for_each_concurrent(PARALLEL_MAX, |question| async move {
            // Without an answer the server refuses the client by itself.
            if let Err(error) = answer(bus, key, &question, identify).await {
                tracing::warn!(%error, "a question about a client stays unanswered");
            }
        })
        .await;
}

async fn answer<F>(
    bus: &Bus,
    key: &KeyPair,
    question: &Message,
    identify: &impl Fn(Secret) -> F,
) -> Result<(), Error>
where
    F: Future<Output = Option<Admitted>>,
{
    let Some(reply) = question.reply.clone() else {
        return Ok(());
    };
    let asked = asked(&question.payload)?;
    let Shown {
        auth_token,
        pass,
        user,
    } = asked.connect_opts;
    let token = [auth_token, pass, user]
        .into_iter()
        .find(|it| !it.is_empty());
    let token = token.filter(|it| it.len() <= TOKEN_BYTES_MAX);
    let admitted = match token {
        Some(token) => identify(Secret::new(token)).await.filter(is_a_client),
        None => None,
    };
    let now = now();
    let verdict = match &admitted {
        Some(admitted) => json!({ "jwt": admission(key, &asked.user_nkey, admitted, now)? }),
        None => json!({ "error": "no valid LogLine token" }),
    };
    let response = signed(
        key,
        Claims {
            jti: jti(),
            iat: now,
            exp: None,
            iss: key.public_key(),
            sub: &asked.user_nkey,
            aud: &asked.server_id.id,
            name: "",
            nats: merged(verdict, "authorization_response"),
        },
    )?;
    bus.inner
        .client
        .publish(reply, response.into())
        .await
        .map_err(crate::error::sending("answering a question about a client"))
}

/// No token makes anybody the system (API-2).
fn is_a_client(admitted: &Admitted) -> bool {
    let Reader { tenant, principal } = &admitted.reader;
    tenant.as_str() != reserved::TENANT && !principal.is_system()
}

/// Reads the question. Who could forge one would be told what anybody with the same token is told.
fn asked(payload: &[u8]) -> Result<Asked, Error> {
    let read = || -> Result<Asked, Box<dyn std::error::Error + Send + Sync>> {
        let text = std::str::from_utf8(payload)?;
        let body = text.split('.').nth(1).ok_or("not a JSON Web Token")?;
        let question: Question = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body)?)?;
        Ok(question.nats)
    };
    read().map_err(Error::client("reading a question about a client"))
}

/// The client's own token for the server: who it is, what it may do, until when.
fn admission(key: &KeyPair, user: &str, admitted: &Admitted, now: i64) -> Result<String, Error> {
    let session = now.saturating_add_unsigned(SESSION_MAX.as_secs());
    let ends = admitted
        .expires_at
        .map_or(session, |at| session.min(at.as_micros() / 1_000_000));
    let Reader { tenant, principal } = &admitted.reader;
    let Permissions { publish, subscribe } = client_permissions(&admitted.reader);
    let rights = json!({
        "pub": { "allow": publish.allow, "deny": publish.deny },
        "sub": { "allow": subscribe.allow, "deny": subscribe.deny },
        "subs": -1, "data": -1, "payload": -1,
    });
    signed(
        key,
        Claims {
            jti: jti(),
            iat: now,
            exp: Some(ends),
            iss: key.public_key(),
            sub: user,
            aud: CLIENT_ACCOUNT,
            name: &format!("{tenant}/{principal}"),
            nats: merged(rights, "user"),
        },
    )
}

/// Seconds since 1970, as tokens count.
#[expect(
    clippy::disallowed_methods,
    reason = "a token ends at a time of the wall clock"
)]
fn now() -> i64 {
    chrono::Utc::now().timestamp()
}

fn merged(mut claims: Value, kind: &str) -> Value {
    if let Value::Object(members) = &mut claims {
        members.insert("type".to_owned(), kind.into());
        members.insert("version".to_owned(), 2.into());
    }
    claims
}

fn jti() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}

fn signed(key: &KeyPair, claims: Claims<'_>) -> Result<String, Error> {
    let failed = Error::client("answering a question about a client");
    let body = match serde_json::to_vec(&claims) {
        Ok(body) => body,
        Err(error) => return Err(failed(error.into())),
    };
    let head = URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let text = format!("{head}.{}", URL_SAFE_NO_PAD.encode(body));
    match key.sign(text.as_bytes()) {
        Ok(signature) => Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))),
        Err(error) => Err(failed(error.into())),
    }
}
