//! Every machine-readable code of the product, with its HTTP status and remedy, and the refusal that carries one.
//!
//! A code is never renamed and a retired one never used again: clients and stored refusals name them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal, $remedy:literal;)*) => {
        /// Why something was refused; the text form is stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// All codes, in the order in which they are documented.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable text form, in snake case.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What the caller can do about it, as one sentence.
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)* }
            }

            /// The HTTP status under which the API answers it (API-1).
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }
        }

        impl FromStr for Code {
            type Err = UnknownCode;

            fn from_str(text: &str) -> Result<Self, UnknownCode> {
                match text { $($text => Ok(Self::$name),)* _ => Err(UnknownCode) }
            }
        }
    };
}

codes! {
    /// The bytes are not JSON.
    MalformedJson = "malformed_json", 400, "Send one JSON object as RFC 8259 defines it.";
    /// The bytes are not MessagePack, or use a type without JSON counterpart.
    MalformedMsgpack = "malformed_msgpack", 400, "Send one MessagePack map with text keys, without bin and ext values.";
    /// The content type names neither JSON nor MessagePack.
    UnsupportedEncoding = "unsupported_encoding", 415, "Send application/json or application/msgpack.";
    /// Text that is not valid UTF-8, lone surrogates included.
    InvalidUtf8 = "invalid_utf8", 400, "Encode text as UTF-8; a surrogate escape needs its other half.";
    /// Text that contains U+0000.
    NulCharacter = "nul_character", 400, "Remove U+0000 from the text.";
    /// A key that occurs twice in one object.
    DuplicateKey = "duplicate_key", 400, "Send each key of an object once.";
    /// A number that is not finite or that a double cannot hold exactly.
    UnsafeNumber = "unsafe_number", 400, "Send finite numbers, integers within ±(2^53-1); send larger ones as text.";
    /// Nested deeper than the limit.
    TooDeep = "too_deep", 400, "Flatten the value, or store it elsewhere and send its digest.";
    /// The canonical bytes are longer than the limit.
    TooLarge = "too_large", 413, "Store the content elsewhere and send its digest.";
    /// The message is longer than the bus and the API take.
    BodyTooLarge = "body_too_large", 413, "Send fewer spans at a time, or smaller ones.";
    /// A top-level field, or a member of `links`, that the envelope does not have.
    UnknownField = "unknown_field", 400, "Put free content into input, output, error, content or metadata.";
    /// A required field that is absent, null or empty.
    MissingField = "missing_field", 400, "Send entity_type, who and this.";
    /// A field of another JSON type than the envelope's.
    WrongType = "wrong_type", 400, "Send the field in the type that the envelope gives it.";
    /// Text that does not have the form of its field.
    InvalidValue = "invalid_value", 400, "Write the value in the form that the sentence names.";
    /// A number outside the bounds of its field.
    OutOfRange = "out_of_range", 400, "Send a value within the bounds that the sentence names.";
    /// Text or a list longer than the bound of its field.
    TooLong = "too_long", 400, "Shorten the value; long content belongs into a free field.";
    /// A time that is not RFC 3339, or second 60.
    InvalidTimestamp = "invalid_timestamp", 400, "Write the time as 2026-01-31T12:00:00Z, with an offset, second 00 to 59.";
    /// `at` lies too far in the future.
    AtInFuture = "at_in_future", 400, "Check the author's clock, or leave `at` out.";
    /// A field that the ledger alone sets.
    LedgerField = "ledger_field", 400, "Leave out received_at, published_by, position, prev_hash, curr_hash and signed_by.";
    /// A type that the system alone writes.
    ReservedType = "reserved_type", 422, "Choose a type of your own.";
    /// A `who` that begins like a name of the system.
    ReservedName = "reserved_name", 422, "Choose a name without the prefixes edge:, bootstrap:, policy:, function:.";
    /// An idempotency key that begins with `edge:`.
    ReservedKey = "reserved_key", 422, "Choose a key that does not begin with edge:.";
    /// A principal that looks like the system's without being one.
    ReservedPrincipal = "reserved_principal", 403, "Publish as a person or device; edge: and bootstrap: are the system's.";
    /// The body names another tenant than the address or token.
    TenantMismatch = "tenant_mismatch", 403, "Leave tenant_id out, or publish under that tenant.";
    /// The body names another owner than the address or token.
    OwnerMismatch = "owner_mismatch", 403, "Leave owner_id out, or publish as that principal.";
    /// The body names another type than the address.
    TypeMismatch = "type_mismatch", 400, "Leave entity_type out, or publish to that type's address.";
    /// A bus address that does not parse.
    InvalidAddress = "invalid_address", 400, "Publish to ingest.<tenant>.<principal>.<entity_type>.";
    /// The signature does not verify.
    SignatureInvalid = "signature_invalid", 422, "Sign \"logline-span-v1\\0\" and the content hash of the span exactly as it is sent.";
    /// A signed span that leaves something to be filled in.
    SignatureIncomplete = "signature_incomplete", 422, "Name id, entity_type, at, trace_id, tenant_id and owner_id in canonical form before signing, or use `logline span sign`.";
    /// A signature without the public key that verifies it.
    SignatureWithoutKey = "signature_without_key", 422, "Send public_key with the signature.";
    /// A public key without a signature.
    KeyWithoutSignature = "key_without_signature", 422, "Send the signature, or leave public_key out.";
    /// Another content under an (id, seq) that is sealed.
    VersionConflict = "version_conflict", 409, "Read the latest version and publish with a higher seq.";
    /// A `seq` that is not higher than the latest one.
    VersionStale = "version_stale", 409, "Read the latest version and publish with a higher seq.";
    /// A version of a span that belongs to someone else.
    VersionOwner = "version_owner", 409, "Use an id of your own; only the owner appends versions.";
    /// A version with another type than the one before it.
    VersionType = "version_type", 409, "Keep entity_type over all versions of an id.";
    /// A chain, hash or position that does not fit the span.
    ChainBroken = "chain_broken", 422, "Compare with the ledger; run `logline verify`.";
    /// No valid credentials.
    Unauthorized = "unauthorized", 401, "Send Authorization: Bearer with a valid token.";
    /// Nothing there that the reader may see.
    NotFound = "not_found", 404, "Check the id, and that you may read it.";
    /// The path exists, the method does not.
    MethodNotAllowed = "method_not_allowed", 405, "Use a method that the Allow header names.";
    /// A query parameter that is unknown or malformed.
    InvalidQuery = "invalid_query", 400, "Use the parameters and forms that the documentation lists.";
    /// A cursor or resume token that was not given out by this system.
    InvalidCursor = "invalid_cursor", 400, "Start again without the cursor.";
    /// The request took longer than the server allows.
    RequestTimeout = "request_timeout", 408, "Send the request again, in smaller parts.";
    /// Too many requests of one principal.
    RateLimited = "rate_limited", 429, "Wait as long as Retry-After says.";
    /// The intake stream holds as much as it may of what is not sealed.
    IngestFull = "ingest_full", 503, "Send it again later; nothing was taken.";
    /// The bus cannot be reached or did not acknowledge.
    BusUnavailable = "bus_unavailable", 503, "Send it again with the same idempotency_key or id.";
    /// The ledger cannot be reached.
    LedgerUnavailable = "ledger_unavailable", 503, "Read again later; publishing goes on.";
    /// A fault of this system.
    Internal = "internal", 500, "Report the trace_id to the operator.";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The text is not a [`Code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown refusal code")]
pub struct UnknownCode;

/// What a client is told: a code, the JSON pointer of the field, a sentence.
///
/// INVARIANT (no private content, SPAN-5): `detail` names fields, bounds and forms, never a value that a client sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code} at '{pointer}': {detail}")]
pub struct Refusal {
    /// Which rule was broken.
    pub code: Code,
    /// RFC 6901 pointer to the field; empty for the whole span.
    pub pointer: String,
    /// The rule in one sentence.
    pub detail: String,
}

impl Refusal {
    /// A refusal of the whole span; see [`Refusal::at`] for one of a field.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            pointer: String::new(),
            detail: detail.into(),
        }
    }

    /// The same refusal at the field that `pointer` names.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>) -> Self {
        self.pointer = pointer.into();
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_is_its_text_and_tells_what_to_do() {
        let texts: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.len(), Code::ALL.len());
        for code in Code::ALL {
            assert_eq!(code.as_str().parse(), Ok(*code));
            assert!(
                code.remedy().ends_with('.') && (400..600).contains(&code.http_status()),
                "{code}"
            );
        }
        assert_eq!("nonsense".parse::<Code>(), Err(UnknownCode));
    }

    #[test]
    fn a_refusal_is_three_members_of_json() {
        let refusal = Refusal::new(Code::TooLong, "must be at most 256 characters").at("/who");
        let json = serde_json::to_string(&refusal).unwrap();
        assert_eq!(
            json,
            r#"{"code":"too_long","pointer":"/who","detail":"must be at most 256 characters"}"#
        );
        assert_eq!(serde_json::from_str::<Refusal>(&json).unwrap(), refusal);
    }
}
