//! One pass from JSON, MessagePack or memory to canonical text, with every rule of I-JSON on the way.
//!
//! The path of a refusal is not tracked while reading: it is collected while the error unwinds, so that a good
//! span pays nothing for it.

use std::fmt::{self, Write as _};

use serde::Deserialize as _;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::canonical::{self, SAFE_INTEGER_MAX};
use super::literal;
use crate::refusal::{Code, Refusal};

/// Longest pointer of a refusal, in bytes; a longer one is cut after a whole segment, so that it names an ancestor.
const POINTER_BYTES_MAX: usize = 512;

/// Where values come from: integers obey different rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// JSON text.
    Json,
    /// MessagePack.
    MessagePack,
    /// A `serde_json::Value`.
    Memory,
}

/// Writes canonical text while a document is read.
pub(crate) struct Scribe {
    source: Source,
    depth_max: usize,
    depth: usize,
    text: String,
    /// Members of all objects that are open, outermost first.
    members: Vec<Member>,
    scratch: String,
    /// Numbers seen, and the ordinals of those whose digits the JSON reader has rounded away.
    numbers: usize,
    suspects: Vec<usize>,
    refuse_number: Option<usize>,
    refusal: Option<(Code, String)>,
    /// Innermost segment first.
    path: Vec<String>,
    /// What the value at hand should have been.
    pub(crate) expected: &'static str,
}

#[derive(Clone, Copy)]
struct Member {
    start: usize,
    key_end: usize,
    end: usize,
}

impl Scribe {
    pub(crate) const fn new(source: Source, depth_max: usize) -> Self {
        Self {
            source,
            depth_max,
            depth: 0,
            text: String::new(),
            members: Vec::new(),
            scratch: String::new(),
            numbers: 0,
            suspects: Vec::new(),
            refuse_number: None,
            refusal: None,
            path: Vec::new(),
            expected: "must be a JSON value",
        }
    }

    /// The canonical text written so far.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Starts a new text.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
    }

    /// Records why reading stops, and makes the error that stops it.
    pub(crate) fn refuse<E: de::Error>(&mut self, code: Code, detail: impl Into<String>) -> E {
        self.refusal = Some((code, detail.into()));
        E::custom("refused")
    }

    /// Notes on the way out that the error lies under `segment`.
    pub(crate) fn under(&mut self, segment: &str) {
        self.path
            .push(segment.replace('~', "~0").replace('/', "~1"));
    }

    /// Says that a key comes next.
    pub(crate) const fn expect_key(&mut self) {
        self.expected = KEY_EXPECTED;
    }

    /// One level deeper; every caller pairs it with [`Scribe::leave`], except when reading stops.
    pub(crate) fn enter<E: de::Error>(&mut self) -> Result<(), E> {
        self.depth += 1;
        if self.depth > self.depth_max {
            let detail = format!("nested deeper than {} levels", self.depth_max);
            return Err(self.refuse(Code::TooDeep, detail));
        }
        Ok(())
    }

    pub(crate) const fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Counts a number; every number of a document passes here once, in order.
    pub(crate) fn number<E: de::Error>(&mut self, rounded: bool) -> Result<(), E> {
        let ordinal = self.numbers;
        self.numbers += 1;
        if self.refuse_number == Some(ordinal) {
            return Err(self.unsafe_number());
        }
        if rounded && self.source == Source::Json {
            self.suspects.push(ordinal);
        }
        Ok(())
    }

    /// Checks that an integer is one that every reader of JSON understands alike (SPAN-2).
    pub(crate) fn integer<E: de::Error>(
        &mut self,
        magnitude: u64,
        is_canonical: impl Fn() -> bool,
    ) -> Result<(), E> {
        self.number(false)?;
        let accepted =
            magnitude <= SAFE_INTEGER_MAX || self.source != Source::MessagePack && is_canonical();
        if accepted {
            Ok(())
        } else {
            Err(self.unsafe_number())
        }
    }

    /// Checks a double. From 2^63 on it may have been an integer literal, whose digits must be looked at again.
    pub(crate) fn double<E: de::Error>(&mut self, value: f64) -> Result<(), E> {
        self.number(value.abs() >= 9_223_372_036_854_775_808.0)?;
        if value.is_finite() {
            Ok(())
        } else {
            Err(self.unsafe_number())
        }
    }

    fn unsafe_number<E: de::Error>(&mut self) -> E {
        self.refuse(Code::UnsafeNumber, UNSAFE_NUMBER)
    }

    fn put_text<E: de::Error>(&mut self, text: &str) -> Result<(), E> {
        if canonical::put_text(&mut self.text, text) {
            Ok(())
        } else {
            Err(self.refuse(Code::NulCharacter, "text must not contain U+0000"))
        }
    }

    /// Puts the members from `first` on, whose text begins at `start`, into canonical order.
    fn close_object<E: de::Error>(&mut self, start: usize, first: usize) -> Result<(), E> {
        let text = self.text.as_str();
        let members = self.members.get_mut(first..).unwrap_or_default();
        let key = |member: &Member| {
            text.get(member.start + 1..member.key_end - 1)
                .unwrap_or_default()
        };
        let order = |left: &Member, right: &Member| canonical::key_order(key(left), key(right));
        if !members.is_sorted_by(|left, right| order(left, right).is_lt()) {
            members.sort_by(order);
            let twin = members.windows(2).find_map(|pair| match pair {
                [left, right] if order(left, right).is_eq() => Some(key(left).to_owned()),
                _ => None,
            });
            if let Some(twin) = twin {
                self.under(&decoded(&twin));
                return Err(self.refuse(Code::DuplicateKey, "a key occurs twice in one object"));
            }
            self.scratch.clear();
            for member in members {
                self.scratch
                    .push_str(text.get(member.start..member.end).unwrap_or_default());
                self.scratch.push(',');
            }
            self.text.truncate(start);
            self.text.push_str(&self.scratch);
        }
        self.members.truncate(first);
        Ok(())
    }

    /// The refusal that `failure` stands for.
    pub(crate) fn refusal(&mut self, failure: &Failure) -> Refusal {
        let pointer = self.pointer();
        let (code, detail) = match (failure, self.refusal.take()) {
            (Failure::Utf8, _) => (
                Code::InvalidUtf8,
                "text must be valid UTF-8, without lone surrogates".to_owned(),
            ),
            (_, Some(recorded)) => recorded,
            (Failure::Type, None) if self.expected == KEY_EXPECTED => {
                (Code::MalformedMsgpack, KEY_EXPECTED.to_owned())
            }
            (Failure::Type, None) => (Code::WrongType, self.expected.to_owned()),
            (Failure::Number, None) => (Code::UnsafeNumber, UNSAFE_NUMBER.to_owned()),
            (Failure::Depth, None) => (
                Code::TooDeep,
                format!("nested deeper than {} levels", self.depth_max),
            ),
            (Failure::Malformed(detail), None) => {
                let code = if self.source == Source::MessagePack {
                    Code::MalformedMsgpack
                } else {
                    Code::MalformedJson
                };
                return Refusal::new(code, detail.clone());
            }
        };
        Refusal::new(code, detail).at(pointer)
    }

    fn pointer(&mut self) -> String {
        let mut pointer = String::new();
        for segment in self.path.drain(..).rev() {
            if pointer.len() + 1 + segment.len() > POINTER_BYTES_MAX {
                break;
            }
            pointer.push('/');
            pointer.push_str(&segment);
        }
        pointer
    }
}

/// JSON has no other keys, so only MessagePack breaks it.
const KEY_EXPECTED: &str = "keys must be text";
const UNSAFE_NUMBER: &str =
    "numbers must be finite, integers within ±(2^53-1) or written exactly as their double";

fn decoded(key: &str) -> String {
    serde_json::from_str(&format!("\"{key}\"")).unwrap_or_default()
}

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
