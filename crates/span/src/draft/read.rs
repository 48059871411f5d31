//! Reading an envelope, field by field, in the one pass of [`crate::json::reader`].

mod seeds;

use std::fmt;
use std::str::FromStr;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{Draft, Encoding, Limits};
use crate::hash::Hash;
use crate::ids::{Position, Principal, Seq, TraceId};
use crate::json::Json;
use crate::json::reader;
use crate::json::scribe::{Scribe, Source};
use crate::refusal::{Code, Refusal};
use crate::time::Timestamp;
use seeds::{Fault, Ids, Integer, Links, Text};

/// Names of unknown fields that a refusal tells, and the length of each.
const NAMES_TOLD_MAX: usize = 8;
const NAME_CHARS_MAX: usize = 64;

/// What the ledger adds to a span.
#[derive(Clone, Default)]
pub(crate) struct LedgerFields {
    pub(crate) received_at: Option<Timestamp>,
    pub(crate) published_by: Option<Principal>,
    pub(crate) position: Option<Position>,
    pub(crate) prev_hash: Option<Hash>,
    pub(crate) curr_hash: Option<Hash>,
}

impl LedgerFields {
    /// The first of them that is there.
    pub(crate) fn first(&self) -> Option<&'static str> {
        self.presence()
            .into_iter()
            .find_map(|(name, is_there)| is_there.then_some(name))
    }

    /// Whether all of them are there.
    pub(crate) fn is_whole(&self) -> bool {
        self.presence().into_iter().all(|(_, is_there)| is_there)
    }

    const fn presence(&self) -> [(&'static str, bool); 5] {
        [
            ("received_at", self.received_at.is_some()),
            ("published_by", self.published_by.is_some()),
            ("position", self.position.is_some()),
            ("prev_hash", self.prev_hash.is_some()),
            ("curr_hash", self.curr_hash.is_some()),
        ]
    }
}

/// Whether the fields of the ledger may stand in what is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ledger {
    Refused,
    Read,
}

/// Reads one envelope.
pub(crate) fn read(
    bytes: &[u8],
    encoding: Encoding,
    depth_max: usize,
    ledger: Ledger,
) -> Result<(Draft, LedgerFields), Refusal> {
    let source = match encoding {
        Encoding::Json => Source::Json,
        Encoding::MessagePack => Source::MessagePack,
    };
    let depth_max = depth_max.min(Limits::DEPTH_CEILING);
    let mut envelope = reader::read(bytes, source, depth_max, |scribe, input| {
        scribe.expected = "a span is one object";
        let mut envelope = Envelope::default();
        input.read(Object {
            scribe,
            envelope: &mut envelope,
            ledger,
        })?;
        Ok(envelope)
    })?;
    if let Some(first) = envelope.unknown.first() {
        let names: Vec<_> = envelope
            .unknown
            .iter()
            .map(|unknown| unknown.name.as_str())
            .collect();
        let detail = format!("the envelope has no field {}", names.join(", "));
        return Err(Refusal::new(Code::UnknownField, detail).at(first.pointer()));
    }
    if let Some(name) = envelope.refused.take() {
        let detail = format!("{name} is set by the ledger alone");
        return Err(Refusal::new(Code::LedgerField, detail).at(format!("/{name}")));
    }
    envelope.draft.check_bounds()?;
    Ok((envelope.draft, envelope.ledger))
}

#[derive(Default)]
struct Envelope {
    draft: Draft,
    ledger: LedgerFields,
    unknown: Vec<Unknown>,
    /// The first field of the ledger that a client sent.
    refused: Option<&'static str>,
    seen: u64,
}

/// A field that the envelope does not have.
struct Unknown {
    parent: &'static str,
    name: String,
}

impl Unknown {
    fn pointer(&self) -> String {
        format!(
            "{}/{}",
            self.parent,
            self.name.replace('~', "~0").replace('/', "~1")
        )
    }
}

macro_rules! fields {
    ($($name:literal $variant:ident,)*) => {
        #[derive(Clone, Copy, PartialEq, Eq)]
        enum Field { $($variant,)* Unknown }

        impl Field {
            fn named(name: &str) -> Self {
                match name { $($name => Self::$variant,)* _ => Self::Unknown }
            }

            const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* Self::Unknown => "" }
            }
        }
    };
}

fields! {
    "at" At, "code" Code, "content" Content, "curr_hash" CurrHash, "description" Description, "did" Did,
    "duration_ms" DurationMs, "entity_type" EntityType, "error" Error, "id" Id, "idempotency_key" IdempotencyKey,
    "input" Input, "is_deleted" IsDeleted, "language" Language, "links" Links, "metadata" Metadata, "name" Name,
    "output" Output, "owner_id" OwnerId, "parent_id" ParentId, "position" Position, "prev_hash" PrevHash,
    "public_key" PublicKey, "published_by" PublishedBy, "received_at" ReceivedAt, "related_to" RelatedTo,
    "runtime" Runtime, "seq" Seq, "signature" Signature, "signed_by" SignedBy, "status" Status, "tenant_id" TenantId, "this" This,
    "trace_id" TraceId, "visibility" Visibility, "who" Who,
}

impl Field {
    const fn is_ledger(self) -> bool {
        matches!(
            self,
            Self::CurrHash
                | Self::Position
                | Self::PrevHash
                | Self::PublishedBy
                | Self::ReceivedAt
                | Self::SignedBy
        )
    }
}

struct Object<'s, 'e> {
    scribe: &'s mut Scribe,
    envelope: &'e mut Envelope,
    ledger: Ledger,
}

impl<'de> DeserializeSeed<'de> for Object<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Object<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self {
            scribe,
            envelope,
            ledger,
        } = self;
        scribe.enter()?;
        loop {
            scribe.expect_key();
            let Some(field) = map.next_key_seed(Key {
                unknown: &mut envelope.unknown,
            })?
            else {
                break;
            };
            let name = field.name();
            if field != Field::Unknown {
                let bit = 1 << field as u64;
                if envelope.seen & bit != 0 {
                    scribe.under(name);
                    return Err(
                        scribe.refuse(Code::DuplicateKey, "a key occurs twice in one object")
                    );
                }
                envelope.seen |= bit;
            }
            let result =
                if field == Field::Unknown || field.is_ledger() && ledger == Ledger::Refused {
                    foreign(scribe, &mut map, field, envelope)
                } else {
                    value(scribe, &mut map, field, envelope)
                };
            if let Err(error) = result {
                let unknown = envelope.unknown.last().filter(|_| field == Field::Unknown);
                scribe.under(unknown.map_or(name, |unknown| &unknown.name));
                return Err(error);
            }
        }
        scribe.leave();
        Ok(())
    }
}

/// Reads past a field that a client must not send: whatever stands in it, its name is the fault.
fn foreign<'de, A: MapAccess<'de>>(
    scribe: &mut Scribe,
    map: &mut A,
    field: Field,
    envelope: &mut Envelope,
) -> Result<(), A::Error> {
    scribe.clear();
    map.next_value_seed(reader::Value(scribe))?;
    if field != Field::Unknown && scribe.text() != "null" {
        envelope.refused.get_or_insert(field.name());
    }
    Ok(())
}

fn value<'de, A: MapAccess<'de>>(
    scribe: &mut Scribe,
    map: &mut A,
    field: Field,
    envelope: &mut Envelope,
) -> Result<(), A::Error> {
    let Envelope { draft, ledger, .. } = envelope;
    match field {
        Field::At => {
            let strict = |text: &str| {
                text.len() == 27 && text.get(10..11) == Some("T") && text.ends_with('Z')
            };
            draft.at = parsed_strictly(scribe, map, strict, "/at", &mut draft.loose)?;
        }
        Field::Id => {
            let strict = |text: &str| !text.bytes().any(|byte| byte.is_ascii_uppercase());
            draft.id = parsed_strictly(scribe, map, strict, "/id", &mut draft.loose)?;
        }
        Field::TraceId => {
            let strict = |text: &str| text.len() == 2 * size_of::<TraceId>();
            draft.trace_id = parsed_strictly(scribe, map, strict, "/trace_id", &mut draft.loose)?;
        }
        Field::Code => draft.code = parsed(scribe, map)?,
        Field::Description => draft.description = parsed(scribe, map)?,
        Field::Did => draft.did = parsed(scribe, map)?,
        Field::EntityType => draft.entity_type = parsed(scribe, map)?,
        Field::IdempotencyKey => draft.idempotency_key = parsed(scribe, map)?,
        Field::Language => draft.language = parsed(scribe, map)?,
        Field::Name => draft.name = parsed(scribe, map)?,
        Field::OwnerId => draft.owner_id = parsed(scribe, map)?,
        Field::ParentId => draft.parent_id = parsed(scribe, map)?,
        Field::PublicKey => draft.public_key = parsed(scribe, map)?,
        Field::Runtime => draft.runtime = parsed(scribe, map)?,
        Field::Signature => draft.signature = parsed(scribe, map)?,
        Field::Status => draft.status = parsed(scribe, map)?,
        Field::TenantId => draft.tenant_id = parsed(scribe, map)?,
        Field::This => draft.this = parsed(scribe, map)?,
        Field::Visibility => draft.visibility = parsed(scribe, map)?,
        Field::Who => draft.who = parsed(scribe, map)?,
        Field::Content => draft.content = json(scribe, map)?,
        Field::Error => draft.error = json(scribe, map)?,
        Field::Input => draft.input = json(scribe, map)?,
        Field::Metadata => draft.metadata = json(scribe, map)?,
        Field::Output => draft.output = json(scribe, map)?,
        Field::DurationMs => {
            draft.duration_ms = integer(scribe, map, u64::from(Seq::MAX.get()))?
                .and_then(|number| u32::try_from(number).ok());
        }
        Field::Seq => {
            let number = integer(scribe, map, u64::from(Seq::MAX.get()))?;
            draft.seq = number
                .and_then(|number| u32::try_from(number).ok())
                .and_then(Seq::new);
        }
        Field::IsDeleted => {
            scribe.expected = "must be true or false";
            draft.is_deleted = map.next_value()?;
        }
        Field::Links => {
            draft.caused_by = map.next_value_seed(Links {
                scribe,
                unknown: &mut envelope.unknown,
            })?
        }
        Field::RelatedTo => draft.related_to = map.next_value_seed(Ids(scribe))?,
        Field::CurrHash => ledger.curr_hash = parsed(scribe, map)?,
        Field::Position => {
            ledger.position = integer(scribe, map, Position::MAX.get())?.and_then(Position::new)
        }
        Field::PrevHash => ledger.prev_hash = parsed(scribe, map)?,
        Field::PublishedBy => ledger.published_by = parsed(scribe, map)?,
        Field::ReceivedAt => ledger.received_at = parsed(scribe, map)?,
        // What readers are told of a signature (SPAN-10) follows from other spans and is part of none.
        Field::SignedBy | Field::Unknown => drop(map.next_value::<IgnoredAny>()?),
    }
    Ok(())
}

fn parsed<'de, T: FromStr, A: MapAccess<'de>>(
    scribe: &mut Scribe,
    map: &mut A,
) -> Result<Option<T>, A::Error>
where
    T::Err: Into<Fault>,
{
    map.next_value_seed(Text::new(scribe))
}

/// Reads text, and notes in `loose` where it is not the one canonical text of its value.
fn parsed_strictly<'de, T: FromStr<Err = Refusal>, A: MapAccess<'de>>(
    scribe: &mut Scribe,
    map: &mut A,
    is_canonical: impl Fn(&str) -> bool,
    pointer: &'static str,
    loose: &mut Option<&'static str>,
) -> Result<Option<T>, A::Error> {
    let mut seed = Text::new(scribe);
    let mut strict = true;
    let mut note = |text: &str| strict = is_canonical(text);
    seed.note = Some(&mut note);
    let value = map.next_value_seed(seed)?;
    if !strict && loose.is_none() {
        *loose = Some(pointer);
    }
    Ok(value)
}

fn json<'de, A: MapAccess<'de>>(
    scribe: &mut Scribe,
    map: &mut A,
) -> Result<Option<Json>, A::Error> {
    scribe.clear();
    map.next_value_seed(reader::Value(scribe))?;
    Ok(Json::written(scribe.text()))
}

fn integer<'de, A: MapAccess<'de>>(
    scribe: &mut Scribe,
    map: &mut A,
    max: u64,
) -> Result<Option<u64>, A::Error> {
    scribe.expected = "must be an integer";
    map.next_value_seed(Integer { scribe, max })
}

/// A top-level key.
struct Key<'u> {
    unknown: &'u mut Vec<Unknown>,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Field;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Field, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text key")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Field, E> {
        let field = Field::named(text);
        if field == Field::Unknown {
            tell(self.unknown, "", text);
        }
        Ok(field)
    }
}

fn tell(unknown: &mut Vec<Unknown>, parent: &'static str, name: &str) {
    if unknown.len() < NAMES_TOLD_MAX {
        let name = name
            .chars()
            .filter(|c| !c.is_control())
            .take(NAME_CHARS_MAX)
            .collect();
        unknown.push(Unknown { parent, name });
    }
}
