//! One line of a file at a time, for tools that work without a server (`logline span canon|hash|sign|check`).
//!
//! A line is a span as a client sends it or, except for signing, a sealed one as the ledger shows it.
//! What an author may write depends on who publishes and when, which a file does not say: reserved names and times
//! in the future are not judged here.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::draft::read::{self, Ledger, LedgerFields};
use crate::draft::{Draft, Encoding, Limits};
use crate::hash::Hash;
use crate::ids::{EntityType, Position, Principal, SpanId, TenantId, TraceId};
use crate::refusal::{Code, Refusal};
use crate::sealed::Sealed;
use crate::signature::{PublicKey, SigningKey};
use crate::time::Timestamp;

/// What [`sign`] fills in where the line does not say.
#[derive(Clone, Copy, Debug)]
pub struct Fill<'a> {
    /// For `id`.
    pub id: SpanId,
    /// For `at`.
    pub at: Timestamp,
    /// For `tenant_id`.
    pub tenant: &'a TenantId,
    /// For `owner_id`.
    pub owner: &'a Principal,
    /// For `entity_type`, where one is known.
    pub entity_type: Option<&'a EntityType>,
    /// For `trace_id`; derived from the id where there is none.
    pub trace_id: Option<TraceId>,
}

/// A line that holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// BLAKE3 of the canonical bytes; that of the sealed span only where the line names all that is filled in.
    pub content_hash: Hash,
    /// Length of the canonical bytes.
    pub canonical_bytes: usize,
    /// The key whose signature verifies; absent where the line is not signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<PublicKey>,
    /// The place in the chain of a sealed line, whose `curr_hash` fits its content and `prev_hash`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
}

/// The result of one line; its `Display` is the line to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Canonical text, a hash, or a signed span.
    Text(String),
    /// A line that was checked.
    Checked(Checked),
    /// A line that does not hold.
    Refused(Refusal),
}

impl Outcome {
    /// Whether the line holds.
    pub const fn is_success(&self) -> bool {
        match self {
            Self::Text(_) | Self::Checked(_) => true,
            Self::Refused(_) => false,
        }
    }
}

/// An outcome as an object, in the shape of receipts.
#[derive(Serialize)]
struct Shown<'a, T> {
    success: bool,
    #[serde(flatten)]
    fields: &'a T,
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Checked(fields) => Shown {
                success: true,
                fields,
            }
            .serialize(serializer),
            Self::Refused(fields) => Shown {
                success: false,
                fields,
            }
            .serialize(serializer),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Checked(_) | Self::Refused(_) => {
                f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
            }
        }
    }
}

/// The canonical text of a line (SPAN-6): what it names, with the three defaults that are always there.
pub fn canon(line: &[u8], encoding: Encoding, limits: &Limits) -> Outcome {
    outcome(open(line, encoding, limits).and_then(|(draft, _)| {
        let mut bytes = Vec::new();
        draft.canonical(&mut bytes);
        String::from_utf8(bytes)
            .map_err(|_| Refusal::new(Code::Internal, "canonical bytes are text"))
    }))
}

/// The content hash of a line (SPAN-7).
pub fn hash(line: &[u8], encoding: Encoding, limits: &Limits) -> Outcome {
    outcome(open(line, encoding, limits).map(|(draft, _)| draft.content_hash().to_string()))
}

/// The line signed: what is missing is filled in from `fill`, everything is written in its canonical form.
pub fn sign(
    line: &[u8],
    encoding: Encoding,
    limits: &Limits,
    fill: &Fill<'_>,
    key: &SigningKey,
) -> Outcome {
    outcome(Draft::parse(line, encoding, limits).and_then(|mut draft| {
        let id = *draft.id.get_or_insert(fill.id);
        draft.at.get_or_insert(fill.at);
        draft
            .trace_id
            .get_or_insert_with(|| fill.trace_id.unwrap_or(TraceId::of(id)));
        draft.tenant_id.get_or_insert_with(|| fill.tenant.clone());
        draft.owner_id.get_or_insert_with(|| fill.owner.clone());
        if draft.entity_type.is_none() {
            draft.entity_type = fill.entity_type.cloned();
        }
        draft.check_required()?;
        draft.sign(key)?;
        draft.check_size(limits)?;
        Ok(draft.to_json())
    }))
}

/// Checks a line as far as it goes without a server: form, bounds, signature and, of a sealed one, `curr_hash`.
///
/// ```
/// use logline_span::{Encoding, Limits, check};
/// let line = br#"{"entity_type":"activity","who":"alice","this":"door"}"#;
/// let outcome = check::check(line, Encoding::Json, &Limits::STANDARD);
/// assert!(outcome.to_string().starts_with(r#"{"success":true,"content_hash":"blake3:"#));
///
/// let outcome = check::check(br#"{"who":"alice","nmae":"x"}"#, Encoding::Json, &Limits::STANDARD);
/// assert_eq!(
///     outcome.to_string(),
///     r#"{"success":false,"code":"unknown_field","pointer":"/nmae","detail":"the envelope has no field nmae"}"#
/// );
/// ```
pub fn check(line: &[u8], encoding: Encoding, limits: &Limits) -> Outcome {
    match open(line, encoding, limits).and_then(|(draft, ledger)| checked(draft, ledger, limits)) {
        Ok(checked) => Outcome::Checked(checked),
        Err(refusal) => Outcome::Refused(refusal),
    }
}

fn checked(draft: Draft, ledger: LedgerFields, limits: &Limits) -> Result<Checked, Refusal> {
    draft.check_required()?;
    draft.check_size(limits)?;
    draft.check_signature_shape()?;
    draft.check_signature()?;
    let mut bytes = Vec::new();
    draft.canonical(&mut bytes);
    let content_hash = Hash::of(&bytes);
    let public_key = draft.public_key;
    let position = match ledger.first() {
        None => None,
        Some(name) if !ledger.is_whole() => {
            let detail =
                "a client leaves the ledger's fields out; a sealed span has all five of them";
            return Err(Refusal::new(Code::LedgerField, detail).at(format!("/{name}")));
        }
        Some(_) => {
            let sealed = Sealed::from_parts(draft, ledger)?;
            if sealed.expected_hash(content_hash) != sealed.curr_hash {
                let detail = "curr_hash does not follow from the content, its place and prev_hash";
                return Err(Refusal::new(Code::ChainBroken, detail).at("/curr_hash"));
            }
            Some(sealed.position)
        }
    };
    Ok(Checked {
        content_hash,
        canonical_bytes: bytes.len(),
        public_key,
        position,
    })
}

fn open(
    line: &[u8],
    encoding: Encoding,
    limits: &Limits,
) -> Result<(Draft, LedgerFields), Refusal> {
    read::read(line, encoding, limits.depth_max, Ledger::Read)
}

fn outcome(result: Result<String, Refusal>) -> Outcome {
    match result {
        Ok(text) => Outcome::Text(text),
        Err(refusal) => Outcome::Refused(refusal),
    }
}
