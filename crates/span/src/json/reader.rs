//! One pass from JSON, MessagePack or memory to canonical text, with every rule of I-JSON on the way.
//!
//! The path of a refusal is not tracked while reading: it is collected while the error unwinds, so that a good
//! span pays nothing for it.

use std::fmt::{self, Write as _};

use serde::Deserialize as _;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::scribe::{Member, Scribe, Source, UNSAFE_NUMBER};
use super::{canonical, literal};
use crate::refusal::{Code, Refusal};

/// Why a reader stopped, in our words.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Not the encoding at all.
    Malformed(String),
    /// A value of the wrong type, or one that the scribe refused.
    Type,
    /// A number that no double can hold.
    Number,
    /// Text that is not UTF-8.
    Utf8,
    /// The reader's own depth limit.
    Depth,
}

impl Failure {
    /// The library tells its syntax errors apart by their text alone.
    pub(crate) fn of_json(error: &serde_json::Error) -> Self {
        if error.classify() == serde_json::error::Category::Data {
            return Self::Type;
        }
        let text = error.to_string();
        if text.starts_with("number out of range") {
            Self::Number
        } else if text.starts_with("lone leading surrogate")
            || text.starts_with("unexpected end of hex escape")
        {
            Self::Utf8
        } else if text.starts_with("recursion limit") {
            Self::Depth
        } else {
            Self::Malformed(format!(
                "not valid JSON at line {}, column {}",
                error.line(),
                error.column()
            ))
        }
    }

    fn of_msgpack(error: &rmp_serde::decode::Error) -> Self {
        use rmp_serde::decode::Error;
        match error {
            Error::Syntax(_) => Self::Type,
            Error::Utf8Error(_) => Self::Utf8,
            Error::DepthLimitExceeded => Self::Depth,
            Error::InvalidMarkerRead(_) | Error::InvalidDataRead(_) => {
                Self::Malformed("the MessagePack document ends early".to_owned())
            }
            Error::TypeMismatch(_)
            | Error::OutOfRange
            | Error::LengthMismatch(_)
            | Error::Uncategorized(_) => Self::Malformed("not valid MessagePack".to_owned()),
        }
    }
}

/// A document that can be read once, by a seed.
pub(crate) enum Input<'de> {
    /// JSON text.
    Json(&'de str),
    /// MessagePack.
    MessagePack(&'de [u8]),
}

impl<'de> Input<'de> {
    /// Reads the whole document.
    pub(crate) fn read<S: DeserializeSeed<'de>>(&self, seed: S) -> Result<S::Value, Failure> {
        match *self {
            Self::Json(text) => {
                let mut reader = serde_json::Deserializer::from_str(text);
                seed.deserialize(&mut reader)
                    .and_then(|value| reader.end().map(|()| value))
                    .map_err(|error| Failure::of_json(&error))
            }
            Self::MessagePack(bytes) => {
                let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
                let value = seed
                    .deserialize(&mut reader)
                    .map_err(|error| Failure::of_msgpack(&error))?;
                // The reader does not say how far it came: only at the end there is no marker left to read.
                match de::IgnoredAny::deserialize(&mut reader) {
                    Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => Ok(value),
                    Ok(_) | Err(_) => Err(Failure::Malformed(
                        "bytes follow the MessagePack document".to_owned(),
                    )),
                }
            }
        }
    }
}

/// Reads a document by `body`, which is called again where a refused number must be located.
pub(crate) fn read<'de, T>(
    bytes: &'de [u8],
    source: Source,
    depth_max: usize,
    mut body: impl FnMut(&mut Scribe, &Input<'de>) -> Result<T, Failure>,
) -> Result<T, Refusal> {
    let input = match source {
        Source::MessagePack => Input::MessagePack(bytes),
        Source::Json | Source::Memory => Input::Json(
            std::str::from_utf8(bytes)
                .map_err(|_| Refusal::new(Code::InvalidUtf8, "the message must be valid UTF-8"))?,
        ),
    };
    let mut scribe = Scribe::new(source, depth_max);
    scribe.text.reserve(bytes.len());
    let value = body(&mut scribe, &input).map_err(|failure| scribe.refusal(&failure))?;
    if let (Input::Json(text), false) = (&input, scribe.suspects.is_empty())
        && let Some(ordinal) = literal::first_inexact(text, &scribe.suspects)
    {
        let mut scribe = Scribe::new(source, depth_max);
        scribe.refuse_number = Some(ordinal);
        return match body(&mut scribe, &input) {
            Ok(_) => Err(Refusal::new(Code::UnsafeNumber, UNSAFE_NUMBER)),
            Err(failure) => Err(scribe.refusal(&failure)),
        };
    }
    Ok(value)
}

/// Reads any JSON value and appends its canonical text.
pub(crate) struct Value<'s>(pub(crate) &'s mut Scribe);

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.0.text.push_str("null");
        Ok(())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        self.0.text.push_str(if value { "true" } else { "false" });
        Ok(())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.0.integer(value.unsigned_abs(), || {
            canonical::is_canonical_integer(&value.to_string())
        })?;
        // Writing into memory cannot fail.
        let _ = write!(self.0.text, "{value}");
        Ok(())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.0.integer(value, || {
            canonical::is_canonical_integer(&value.to_string())
        })?;
        let _ = write!(self.0.text, "{value}");
        Ok(())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        self.0.double(value)?;
        canonical::put_double(&mut self.0.text, value);
        Ok(())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        self.0.put_text(text)
    }

    fn visit_bytes<E: de::Error>(self, _: &[u8]) -> Result<(), E> {
        Err(self.0.refuse(
            Code::MalformedMsgpack,
            "bin values have no JSON counterpart",
        ))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, _: D) -> Result<(), D::Error> {
        Err(self.0.refuse(
            Code::MalformedMsgpack,
            "ext values have no JSON counterpart",
        ))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let scribe = self.0;
        scribe.enter()?;
        scribe.text.push('[');
        let mut index = 0_usize;
        loop {
            match items.next_element_seed(Value(scribe)) {
                Ok(Some(())) => scribe.text.push(','),
                Ok(None) => break,
                Err(error) => {
                    scribe.under(&index.to_string());
                    return Err(error);
                }
            }
            index += 1;
        }
        close(scribe, ']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let scribe = self.0;
        scribe.enter()?;
        scribe.text.push('{');
        let (text_start, first_member) = (scribe.text.len(), scribe.members.len());
        loop {
            let start = scribe.text.len();
            if map.next_key_seed(Key(scribe))?.is_none() {
                break;
            }
            let key_end = scribe.text.len();
            scribe.text.push(':');
            if let Err(error) = map.next_value_seed(Value(scribe)) {
                let key = scribe
                    .text
                    .get(start..key_end)
                    .and_then(|key| serde_json::from_str::<String>(key).ok());
                scribe.under(&key.unwrap_or_default());
                return Err(error);
            }
            scribe.members.push(Member {
                start,
                key_end,
                end: scribe.text.len(),
            });
            scribe.text.push(',');
        }
        scribe.close_object(text_start, first_member)?;
        close(scribe, '}');
        Ok(())
    }
}

/// Ends a list of items each of which was followed by a comma.
fn close(scribe: &mut Scribe, bracket: char) {
    if scribe.text.ends_with(',') {
        scribe.text.pop();
    }
    scribe.text.push(bracket);
    scribe.leave();
}

/// Reads a key and appends its canonical text; keys are text in every encoding.
struct Key<'s>(&'s mut Scribe);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.0.expect_key();
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text key")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        self.0.put_text(text)
    }
}
