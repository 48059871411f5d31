//! Free JSON, held as its RFC 8785 text.

pub(crate) mod canonical;
pub(crate) mod literal;
pub(crate) mod reader;
pub(crate) mod scribe;

use crate::draft::Limits;
use crate::refusal::{Code, Refusal};
use scribe::{Scribe, Source};

/// One JSON value.
///
/// INVARIANT (canonical text): the text is the RFC 8785 form of an I-JSON value (RFC 7493) without U+0000,
/// one level shallower than the standard limit, so that it fits into an envelope.
///
/// ```
/// use logline_span::Json;
/// let json = Json::parse(br#"{"b": 5.0, "a": [1e2, "\u0041"]}"#).unwrap();
/// assert_eq!(json.as_str(), r#"{"a":[100,"A"],"b":5}"#);
/// assert!(Json::parse(br#"{"a":1,"a":2}"#).is_err());
/// assert!(Json::from_canonical("1.0").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Json(Box<str>);

impl Json {
    /// Reads one JSON document.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let mut json = String::new();
        reader::read(bytes, Source::Json, Self::DEPTH_MAX, |scribe, input| {
            input.read(reader::Value(scribe))?;
            json.push_str(scribe.text());
            Ok(())
        })?;
        Ok(Self(json.into_boxed_str()))
    }

    /// Takes text that must be canonical already, as the ledger stores it (SPAN-8).
    pub fn from_canonical(text: &str) -> Result<Self, Refusal> {
        let json = Self::parse(text.as_bytes())?;
        if json.as_str() == text {
            Ok(json)
        } else {
            Err(Refusal::new(
                Code::InvalidValue,
                "the text is not the canonical form of its value",
            ))
        }
    }

    /// The canonical form of a value in memory.
    pub fn from_value(value: &serde_json::Value) -> Result<Self, Refusal> {
        let mut scribe = Scribe::new(Source::Memory, Self::DEPTH_MAX);
        match serde::de::DeserializeSeed::deserialize(reader::Value(&mut scribe), value) {
            Ok(()) => Ok(Self(scribe.text().into())),
            Err(error) => Err(scribe.refusal(&reader::Failure::of_json(&error))),
        }
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value in memory.
    pub fn to_value(&self) -> serde_json::Value {
        // INVARIANT (canonical text): it parses.
        serde_json::from_str(&self.0).unwrap_or_default()
    }

    /// The value at an RFC 6901 pointer.
    pub fn get(&self, pointer: &str) -> Option<serde_json::Value> {
        self.to_value()
            .pointer_mut(pointer)
            .map(serde_json::Value::take)
    }

    /// What a scribe has just written; `null` is the absence of a value at the top level (SPAN-6).
    pub(crate) fn written(text: &str) -> Option<Self> {
        (text != "null").then(|| Self(text.into()))
    }

    /// What any configuration may have let into the ledger (SPAN-8); a draft is held to its own limits.
    const DEPTH_MAX: usize = Limits::DEPTH_CEILING - 1;
}
