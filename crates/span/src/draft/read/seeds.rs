//! The kinds of field that an envelope has.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{Unknown, tell};
use crate::draft::RELATED_MAX;
use crate::ids::SpanId;
use crate::json::reader;
use crate::json::scribe::Scribe;
use crate::refusal::{Code, Refusal};

/// Why a text did not parse; free text always does.
pub(super) enum Fault {
    Refused(Refusal),
    Never,
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<std::convert::Infallible> for Fault {
    fn from(_: std::convert::Infallible) -> Self {
        Self::Never
    }
}

/// A field in text form; null is absence.
pub(super) struct Text<'s, 'n, T> {
    scribe: &'s mut Scribe,
    pub(super) note: Option<&'n mut dyn FnMut(&str)>,
    value: std::marker::PhantomData<T>,
}

impl<'s, T> Text<'s, '_, T> {
    pub(super) const fn new(scribe: &'s mut Scribe) -> Self {
        scribe.expected = "must be text";
        Self {
            scribe,
            note: None,
            value: std::marker::PhantomData,
        }
    }
}

impl<'de, T: FromStr> DeserializeSeed<'de> for Text<'_, '_, T>
where
    T::Err: Into<Fault>,
{
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<T: FromStr> Visitor<'_> for Text<'_, '_, T>
where
    T::Err: Into<Fault>,
{
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Option<T>, E> {
        if let Some(note) = self.note {
            note(text);
        }
        text.parse()
            .map(Some)
            .map_err(|error: T::Err| match error.into() {
                Fault::Refused(refusal) => self.scribe.refuse(refusal.code, refusal.detail),
                Fault::Never => E::custom("free text always parses"),
            })
    }
}

/// An integer from 0 to `max`, in whatever form its encoding writes it; null is absence.
pub(super) struct Integer<'s> {
    pub(super) scribe: &'s mut Scribe,
    pub(super) max: u64,
}

impl Integer<'_> {
    fn bounded<E: de::Error>(self, number: Option<u64>) -> Result<Option<u64>, E> {
        match number.filter(|number| *number <= self.max) {
            Some(number) => Ok(Some(number)),
            None => Err(self
                .scribe
                .refuse(Code::OutOfRange, format!("must be from 0 to {}", self.max))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Integer<'_> {
    type Value = Option<u64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<u64>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Integer<'_> {
    type Value = Option<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Option<u64>, E> {
        Ok(None)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Option<u64>, E> {
        self.scribe.number(false)?;
        self.bounded(Some(number))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Option<u64>, E> {
        self.scribe.number(false)?;
        self.bounded(u64::try_from(number).ok())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Option<u64>, E> {
        self.scribe.number(false)?;
        if number.fract() != 0.0 {
            return Err(self.scribe.refuse(Code::WrongType, "must be an integer"));
        }
        // `5.0` is the integer 5 (SPAN-6); beyond 2^53 nothing is within bounds anyway.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "saturates, and the bound refuses what it saturates to"
        )]
        let integer = number as i64;
        self.bounded(u64::try_from(integer).ok())
    }
}

/// `related_to`; null is the empty list.
pub(super) struct Ids<'s>(pub(super) &'s mut Scribe);

impl<'de> DeserializeSeed<'de> for Ids<'_> {
    type Value = Vec<SpanId>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<SpanId>, D::Error> {
        self.0.expected = "must be a list of UUIDs";
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Ids<'_> {
    type Value = Vec<SpanId>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Vec<SpanId>, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<SpanId>, A::Error> {
        let Self(scribe) = self;
        scribe.enter()?;
        let mut ids = Vec::new();
        loop {
            match items.next_element_seed(Text::<SpanId>::new(scribe)) {
                Ok(Some(Some(id))) => ids.push(id),
                Ok(Some(None)) => {
                    scribe.under(&ids.len().to_string());
                    return Err(scribe.refuse(Code::WrongType, "must be text"));
                }
                Ok(None) => break,
                Err(error) => {
                    scribe.under(&ids.len().to_string());
                    return Err(error);
                }
            }
            if ids.len() > RELATED_MAX {
                return Err(scribe.refuse(
                    Code::TooLong,
                    format!("must hold at most {RELATED_MAX} ids"),
                ));
            }
        }
        scribe.leave();
        Ok(ids)
    }
}

/// `links`, which holds `caused_by` alone; null and empty are absence.
pub(super) struct Links<'s, 'u> {
    pub(super) scribe: &'s mut Scribe,
    pub(super) unknown: &'u mut Vec<Unknown>,
}

impl<'de> DeserializeSeed<'de> for Links<'_, '_> {
    type Value = Option<SpanId>;

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Option<SpanId>, D::Error> {
        self.scribe.expected = "must be an object with caused_by";
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Links<'_, '_> {
    type Value = Option<SpanId>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Option<SpanId>, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<SpanId>, A::Error> {
        let Self { scribe, unknown } = self;
        scribe.enter()?;
        let mut caused_by = None;
        loop {
            scribe.expect_key();
            let Some(name) = map.next_key_seed(Name)? else {
                break;
            };
            if name != "caused_by" {
                map.next_value_seed(reader::Value(scribe))?;
                tell(unknown, "/links", &name);
                continue;
            }
            if caused_by.is_some() {
                scribe.under("caused_by");
                return Err(scribe.refuse(Code::DuplicateKey, "a key occurs twice in one object"));
            }
            match map.next_value_seed(Text::<SpanId>::new(scribe)) {
                Ok(id) => caused_by = Some(id),
                Err(error) => {
                    scribe.under("caused_by");
                    return Err(error);
                }
            }
        }
        scribe.leave();
        Ok(caused_by.flatten())
    }
}

/// A key as text.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Name {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text key")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}
