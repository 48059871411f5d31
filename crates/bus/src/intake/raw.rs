//! Messages in the server's JSON: for those whose headers the client library cannot read.

use async_nats::{HeaderMap, HeaderName, HeaderValue, StatusCode, jetstream::ErrorCode};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use logline_span::{Code, Refusal};
use serde::Deserialize;

use crate::{Bus, Error, Incoming, stream::INGEST};

/// A message that was read in JSON.
pub(super) struct Raw {
    pub(super) incoming: Incoming,
    /// Whether the client library chokes on its headers.
    pub(super) malformed: bool,
}

#[derive(Deserialize)]
struct Answer {
    message: Encoded,
}

#[derive(Deserialize)]
struct Encoded {
    subject: String,
    seq: u64,
    time: String,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
}

impl Bus {
    pub(super) async fn raw_ingest(&self, seq: u64) -> Result<Option<Raw>, Error> {
        let request = serde_json::json!({ "seq": seq });
        let subject = format!("STREAM.MSG.GET.{INGEST}");
        let answer: Option<Answer> = self
            .ask_unless(subject, &request, ErrorCode::NO_MESSAGE_FOUND)
            .await?;
        answer
            .map(|answer| decode(answer.message, self.inner.open_inboxes))
            .transpose()
    }
}

fn decode(message: Encoded, open_inboxes: bool) -> Result<Raw, Error> {
    let bytes = |text: &str| {
        BASE64_STANDARD
            .decode(text)
            .map_err(|source| Error::client("reading a message")(source.into()))
    };
    let time = chrono::DateTime::parse_from_rfc3339(&message.time)
        .map_err(|source| Error::client("reading a message")(source.into()))?;
    let block = bytes(&message.hdrs)?;
    let headers = if block.is_empty() {
        Some(HeaderMap::new())
    } else {
        headers(&block)
    };
    let mut incoming = Incoming::read(
        message.seq,
        time.timestamp_nanos_opt().unwrap_or_default(),
        message.subject,
        headers.as_ref(),
        Bytes::from(bytes(&message.data)?),
        open_inboxes,
    );
    let malformed = headers.is_none();
    if malformed {
        incoming.encoding = Err(Refusal::new(
            Code::UnsupportedEncoding,
            "the message's headers are malformed, so that its content type cannot be read",
        ));
    }
    Ok(Raw {
        incoming,
        malformed,
    })
}

/// The headers as the client library reads them, unless it would choke on them: a message is the same whichever way it
/// came (LED-7).
fn headers(block: &[u8]) -> Option<HeaderMap> {
    let mut lines = std::str::from_utf8(block).ok()?.lines().peekable();
    let status = lines.next()?.strip_prefix("NATS/1.0")?.trim();
    if let Some(code) = status.split_whitespace().next() {
        code.parse::<StatusCode>().ok()?;
    }
    let mut headers = HeaderMap::new();
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let (name, value) = line.split_once(':')?;
        let name: HeaderName = name.parse().ok()?;
        let mut value = value.trim_start().to_owned();
        while let Some(folded) = lines.next_if(|line| line.starts_with(char::is_whitespace)) {
            value.push_str(folded);
        }
        let value: HeaderValue = value.trim_end().parse().ok()?;
        headers.append(name, value);
    }
    Some(headers)
}
