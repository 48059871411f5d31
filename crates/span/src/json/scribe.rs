//! The writer of canonical text while a document is read, and the bookkeeping of what may be wrong with it.

use serde::de;

use super::canonical::{self, SAFE_INTEGER_MAX};
use super::reader::Failure;
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
    pub(super) source: Source,
    depth_max: usize,
    depth: usize,
    pub(super) text: String,
    /// Members of all objects that are open, outermost first.
    pub(super) members: Vec<Member>,
    scratch: String,
    /// Numbers seen, and the ordinals of those whose digits the JSON reader has rounded away.
    numbers: usize,
    pub(super) suspects: Vec<usize>,
    pub(super) refuse_number: Option<usize>,
    refusal: Option<(Code, String)>,
    /// Innermost segment first.
    path: Vec<String>,
    /// What the value at hand should have been.
    pub(crate) expected: &'static str,
}

#[derive(Clone, Copy)]
pub(super) struct Member {
    pub(super) start: usize,
    pub(super) key_end: usize,
    pub(super) end: usize,
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

    pub(super) fn put_text<E: de::Error>(&mut self, text: &str) -> Result<(), E> {
        if canonical::put_text(&mut self.text, text) {
            Ok(())
        } else {
            Err(self.refuse(Code::NulCharacter, "text must not contain U+0000"))
        }
    }

    /// Puts the members from `first` on, whose text begins at `start`, into canonical order.
    pub(super) fn close_object<E: de::Error>(
        &mut self,
        start: usize,
        first: usize,
    ) -> Result<(), E> {
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
pub(super) const UNSAFE_NUMBER: &str =
    "numbers must be finite, integers within ±(2^53-1) or written exactly as their double";

fn decoded(key: &str) -> String {
    serde_json::from_str(&format!("\"{key}\"")).unwrap_or_default()
}
