//! Names and numbers of the envelope as types: parsed once, carried as such.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::refusal::{Code, Refusal};
use crate::reserved;

/// Longest principal, in bytes: it is part of addresses and indexes.
pub const PRINCIPAL_BYTES_MAX: usize = 256;
/// Longest entity type, in bytes.
pub const ENTITY_TYPE_BYTES_MAX: usize = 64;
/// Longest tenant and longest status, in bytes.
const TOKEN_BYTES_MAX: usize = 64;

/// The id of a span, shared by all its versions; never the nil UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(Uuid);

impl SpanId {
    /// The id with this UUID.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The UUID.
    pub const fn as_uuid(&self) -> &Uuid {
        &self.0
    }

    /// The id of a plain publish without one: a UUIDv8 of the message's time, address and body, so that sealing
    /// the same message again gives the same id. Its first 48 bits are milliseconds, as in UUIDv7, so that
    /// ids of neighbouring messages are neighbours in an index.
    pub fn derived(message_time_ns: i64, subject: &str, body: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"logline-id-v1\0");
        hasher.update(&message_time_ns.to_be_bytes());
        hasher.update(
            &u64::try_from(subject.len())
                .unwrap_or(u64::MAX)
                .to_be_bytes(),
        );
        hasher.update(subject.as_bytes());
        hasher.update(body);
        let mut bytes = [0; 16];
        hasher.finalize_xof().fill(&mut bytes);
        let millis = message_time_ns.div_euclid(1_000_000).to_be_bytes();
        for (byte, time) in bytes.iter_mut().zip(millis.iter().skip(2)).take(6) {
            *byte = *time;
        }
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for SpanId {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        // The crate also reads braced, URN and bare forms; the envelope has one.
        let uuid = (text.len() == 36)
            .then(|| Uuid::try_parse(text).ok())
            .flatten();
        uuid.filter(|uuid| !uuid.is_nil()).map(Self).ok_or_else(|| {
            Refusal::new(
                Code::InvalidValue,
                "must be a UUID as 8-4-4-4-12 hex digits, not the nil one",
            )
        })
    }
}

/// A W3C trace id: 16 bytes, not all zero, shown as 32 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId([u8; 16]);

impl TraceId {
    /// The trace id with these bytes, unless they are all zero.
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// The trace id of a span that came without any: the bytes of its id.
    pub const fn of(id: SpanId) -> Self {
        Self(*id.0.as_bytes())
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 32];
        f.write_str(crate::hash::hex_text(&self.0, &mut digits))
    }
}

impl FromStr for TraceId {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let bytes = match text.len() {
            32 => crate::hash::hex_bytes(text),
            36 => Uuid::try_parse(text).ok().map(Uuid::into_bytes),
            _ => None,
        };
        bytes.and_then(Self::from_bytes).ok_or_else(|| {
            Refusal::new(
                Code::InvalidValue,
                "must be 32 lower-case hex digits or a UUID, not all zero",
            )
        })
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $accepts:expr, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = Refusal;

            fn from_str(text: &str) -> Result<Self, Refusal> {
                let accepts: fn(&str) -> bool = $accepts;
                if accepts(text) { Ok(Self(text.into())) } else { Err(Refusal::new(Code::InvalidValue, $rule)) }
            }
        }
    };
}

text_id! {
    /// An isolated organisation; owns one chain.
    TenantId, is_tenant, "must be 1 to 64 of a-z, 0-9, _ and -, not beginning with _ or -"
}
text_id! {
    /// The authenticated identity that publishes, within its tenant.
    Principal, is_principal, "must be 1 to 256 bytes in lower case, not _, without U+0000"
}
text_id! {
    /// What kind of fact a span is.
    EntityType, is_entity_type,
    "must be at most 64 bytes: lower-case words of a-z and 0-9, joined by _ and grouped by ., each group beginning with a letter"
}
text_id! {
    /// What somebody is in a tenant, such as `admin` or `auditor` (GOV-6).
    RoleName, is_role, "must be 1 to 64 of a-z, 0-9, _ and -, beginning with a letter"
}
text_id! {
    /// Where the thing stands, as the author says.
    Status, is_status, "must be 1 to 64 of A-Z, a-z, 0-9, _ and -, not _ alone"
}

impl RoleName {
    /// Grants and revokes roles, and binds the keys of others.
    pub const ADMIN: &'static str = "admin";
}

impl Principal {
    /// Whether the name is the system's (`edge:…`, `bootstrap:…`); such a one that is not in
    /// [`reserved::PRINCIPALS`] is refused as an author.
    pub fn is_system(&self) -> bool {
        reserved::PRINCIPAL_PREFIXES
            .iter()
            .any(|prefix| self.0.starts_with(prefix))
    }
}

fn is_tenant(text: &str) -> bool {
    let first = text.bytes().next();
    text.len() <= TOKEN_BYTES_MAX
        && first.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-'
        })
}

fn is_principal(text: &str) -> bool {
    let lower = |c: char| {
        c != '\0'
            && (c.is_ascii() && !c.is_ascii_uppercase()
                || !c.is_ascii() && c.to_lowercase().eq([c]))
    };
    !text.is_empty() && text != "_" && text.len() <= PRINCIPAL_BYTES_MAX && text.chars().all(lower)
}

fn is_entity_type(text: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let group = |group: &str| {
        group.starts_with(|c: char| c.is_ascii_lowercase()) && group.split('_').all(word)
    };
    text.len() <= ENTITY_TYPE_BYTES_MAX && text.split('.').all(group)
}

fn is_role(text: &str) -> bool {
    is_tenant(text) && text.starts_with(|c: char| c.is_ascii_lowercase())
}

fn is_status(text: &str) -> bool {
    let byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    !text.is_empty() && text != "_" && text.len() <= TOKEN_BYTES_MAX && text.bytes().all(byte)
}

/// The place of a span in its tenant's chain, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// The first place of a chain.
    pub const FIRST: Self = Self(1);
    /// The highest place: Postgres and JSON hold it exactly.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// The place with this number, from 1 to 2^53-1.
    pub const fn new(number: u64) -> Option<Self> {
        if number >= 1 && number <= Self::MAX.0 {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// The number of a version; 0 is the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(u32);

impl Seq {
    /// The first version.
    pub const ZERO: Self = Self(0);
    /// The highest version, the largest `integer` of Postgres.
    pub const MAX: Self = Self(i32::MAX as u32);

    /// The version with this number, from 0 to 2^31-1.
    pub const fn new(number: u32) -> Option<Self> {
        if number <= Self::MAX.0 {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

macro_rules! number_id {
    ($name:ident, $inner:ty, $rule:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = Refusal;

            fn from_str(text: &str) -> Result<Self, Refusal> {
                text.parse()
                    .ok()
                    .and_then(Self::new)
                    .ok_or_else(|| Refusal::new(Code::OutOfRange, $rule))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let number = <$inner>::deserialize(deserializer)?;
                Self::new(number).ok_or_else(|| serde::de::Error::custom($rule))
            }
        }
    };
}

number_id!(Position, u64, "must be an integer from 1 to 2^53-1");
number_id!(Seq, u32, "must be an integer from 0 to 2^31-1");

/// Who may read a span; the lesser is the narrower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Visibility {
    /// The owner alone.
    #[default]
    Private,
    /// Everyone in the tenant.
    Tenant,
    /// Everyone.
    Public,
}

impl Visibility {
    /// The text form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Tenant => "tenant",
            Self::Public => "public",
        }
    }
}

impl fmt::Display for Visibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Visibility {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        match text {
            "private" => Ok(Self::Private),
            "tenant" => Ok(Self::Tenant),
            "public" => Ok(Self::Public),
            _ => Err(Refusal::new(
                Code::InvalidValue,
                "must be private, tenant or public",
            )),
        }
    }
}

/// Serde as the text form, for types whose `Display` and `FromStr` are inverse.
macro_rules! serde_as_text {
    ($($name:path),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(|refusal: Refusal| serde::de::Error::custom(refusal.detail))
            }
        }
    )*};
}

serde_as_text!(
    SpanId,
    TraceId,
    TenantId,
    Principal,
    EntityType,
    Status,
    Visibility,
    crate::time::Timestamp,
    crate::hash::Hash,
    crate::signature::Signature,
    crate::signature::PublicKey
);

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts<T: FromStr>(good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(text.parse::<T>().is_ok(), "{text:?} is one");
        }
        for text in bad {
            assert!(text.parse::<T>().is_err(), "{text:?} is none");
        }
    }

    #[test]
    fn names_have_one_spelling_and_a_bound() {
        let long = "a".repeat(65);
        accepts::<TenantId>(
            &["a", "acme-2_b", "0"],
            &["", "Acme", "_a", "-a", "a.b", "a b", &long],
        );
        accepts::<Status>(
            &["needsReview", "a-b_c", "__"],
            &["", "_", "a b", "é", &long],
        );
        accepts::<EntityType>(
            &["execution", "law.decision", "ledger_event", "v2.case_3"],
            &[
                "", "Law", "law.", ".law", "law..x", "_a", "a_", "a__b", "2a", "a-b", "a*", &long,
            ],
        );
        let long = "a".repeat(257);
        accepts::<Principal>(
            &["alice@acme.com", "edge:law", "straße", "a b", "*>%"],
            &["", "_", "Alice", "É", "a\0", &long],
        );
    }

    #[test]
    fn ids_are_uuids_and_trace_ids_are_hex() {
        let id = "0190163d-8694-739b-aea5-966c26f8ad91";
        let bare = id.replace('-', "");
        let (upper, braced) = (id.to_uppercase(), format!("{{{id}}}"));
        accepts::<SpanId>(
            &[id, &upper],
            &["", &bare, &braced, "00000000-0000-0000-0000-000000000000"],
        );
        assert_eq!(upper.parse::<SpanId>().unwrap().to_string(), id);
        accepts::<TraceId>(
            &[id, &bare],
            &["", &"0".repeat(32), &bare.to_uppercase(), &braced],
        );
        assert_eq!(id.parse::<TraceId>().unwrap().to_string(), bare);
    }

    #[test]
    fn a_derived_id_depends_on_time_address_and_body_and_sorts_by_time() {
        let id = SpanId::derived(1_700_000_000_000_000_000, "a", b"bc");
        assert_eq!(id, SpanId::derived(1_700_000_000_000_000_000, "a", b"bc"));
        assert_ne!(id, SpanId::derived(1_700_000_000_000_000_000, "ab", b"c"));
        assert_ne!(id, SpanId::derived(1_700_000_000_000_000_001, "a", b"bc"));
        assert!(id < SpanId::derived(1_700_000_000_001_000_000, "a", b"bc"));
        assert_eq!(id.as_uuid().get_version_num(), 8);
    }
}
