//! The body of a publishing request: its form, its bounds, its entries.

use axum::{
    body::{Body, HttpBody},
    http::{HeaderMap, header},
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use logline_span::{Code, Encoding, Refusal};
use serde_json::value::RawValue;

use super::NDJSON;
use crate::{config::Config, problem::Problem};

/// How much of a body that is too large is read and thrown away: a client that reads its answer only after it has
/// sent everything gets to see it.
const DISCARDED_BYTES_MAX: usize = 16 << 20;

/// What a body may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    MessagePack,
    Ndjson,
}

/// What a body holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entries {
    One(Bytes, Encoding),
    Many(Vec<Result<Bytes, Refusal>>),
}

impl Form {
    /// The form that the headers name; JSON where they name none.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let unsupported = |detail: &str| Problem::new(Code::UnsupportedEncoding, detail);
        let coding = headers.get(header::CONTENT_ENCODING);
        if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return Err(unsupported("a body with a Content-Encoding is not taken"));
        }
        let Some(value) = headers.get(header::CONTENT_TYPE) else {
            return Ok(Self::Json);
        };
        let text = value.to_str().unwrap_or("unreadable");
        let media = text.split(';').next().unwrap_or_default().trim();
        if media.eq_ignore_ascii_case(NDJSON) {
            return Ok(Self::Ndjson);
        }
        match Encoding::from_content_type(Some(text)) {
            Ok(Encoding::Json) => Ok(Self::Json),
            Ok(Encoding::MessagePack) => Ok(Self::MessagePack),
            Err(_) => Err(unsupported(
                "the content type must be application/json, application/x-ndjson or application/msgpack",
            )),
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Json => Encoding::Json.content_type(),
            Self::MessagePack => Encoding::MessagePack.content_type(),
            Self::Ndjson => NDJSON,
        }
    }

    fn bytes_max(self, config: &Config) -> usize {
        match self {
            Self::MessagePack => config.span_bytes_max,
            Self::Json | Self::Ndjson => config.batch_bytes_max.max(config.span_bytes_max),
        }
    }
}

/// Reads the body within its bound.
pub(super) async fn read(body: Body, form: Form, config: &Config) -> Result<Bytes, Problem> {
    let bytes_max = form.bytes_max(config);
    let announced = body
        .size_hint()
        .exact()
        .and_then(|bytes| usize::try_from(bytes).ok());
    let mut frames = body.into_data_stream();
    let mut whole = BytesMut::new();
    let mut only = None;
    let mut read_bytes = 0;
    while let Some(frame) = frames.next().await {
        let frame = frame
            .map_err(|_| Problem::new(Code::MalformedJson, "the body broke off before its end"))?;
        read_bytes += frame.len();
        if read_bytes > bytes_max {
            whole = BytesMut::new();
            if read_bytes > DISCARDED_BYTES_MAX {
                break;
            }
        } else if announced == Some(frame.len()) {
            // The usual span comes in one piece and is not copied.
            only = Some(frame);
        } else {
            whole.extend_from_slice(&frame);
        }
    }
    if read_bytes > bytes_max {
        let detail = format!("the body is longer than {bytes_max} bytes");
        return Err(Problem::new(Code::BodyTooLarge, detail));
    }
    Ok(only.unwrap_or_else(|| whole.freeze()))
}

/// Takes the body apart; each entry is a slice of it, not a copy.
pub(super) fn entries(body: &Bytes, form: Form, config: &Config) -> Result<Entries, Refusal> {
    match form {
        Form::MessagePack => Ok(Entries::One(body.clone(), Encoding::MessagePack)),
        Form::Ndjson => {
            let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            let lines = lines.filter(|line| !line.is_empty());
            many(lines.map(|line| body.slice_ref(line)), config)
        }
        Form::Json if body.trim_ascii_start().starts_with(b"[") => {
            let malformed = |error: serde_json::Error| {
                let place = format!("line {}, column {}", error.line(), error.column());
                Refusal::new(
                    Code::MalformedJson,
                    format!("the array does not parse at {place}"),
                )
            };
            let elements: Vec<&RawValue> = serde_json::from_slice(body).map_err(malformed)?;
            let elements = elements.iter();
            many(
                elements.map(|element| body.slice_ref(element.get().as_bytes())),
                config,
            )
        }
        Form::Json => Ok(Entries::One(bounded(body.clone(), config)?, Encoding::Json)),
    }
}

fn many(entries: impl Iterator<Item = Bytes>, config: &Config) -> Result<Entries, Refusal> {
    let most = config.batch_entries_max;
    let entries: Vec<_> = entries
        .take(most.saturating_add(1))
        .map(|entry| bounded(entry, config))
        .collect();
    if entries.len() > most {
        let detail = format!("the body holds more than {most} spans");
        return Err(Refusal::new(Code::BodyTooLarge, detail));
    }
    Ok(Entries::Many(entries))
}

fn bounded(entry: Bytes, config: &Config) -> Result<Bytes, Refusal> {
    if entry.len() > config.span_bytes_max {
        let detail = format!("the span is longer than {} bytes", config.span_bytes_max);
        return Err(Refusal::new(Code::BodyTooLarge, detail));
    }
    Ok(entry)
}
