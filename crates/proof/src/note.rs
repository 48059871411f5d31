//! C2SP's signed notes: a text, an empty line, and one signature a line; and the keys that verify them.
//!
//! Two kinds of Ed25519 signatures are known: over the text, as a log signs it, and the `cosignature/v1` of a
//! witness, which covers a time too.

use std::fmt;
use std::str::FromStr;

use logline_span::signature::verify_message;
use logline_span::{PublicKey, Signature, SigningKey};
use sha2::{Digest as _, Sha256};

use crate::line;

/// Longest note, in bytes, as in Go's implementation: what else would an unknown party make us hold and scan.
pub const NOTE_BYTES_MAX: usize = 1_000_000;
/// Most signatures of a note, as in Go's implementation; C2SP asks for at least 16.
pub const SIGNATURES_MAX: usize = 100;
/// The latest time of a cosignature, in seconds since 1970 (C2SP).
pub const COSIGNED_AT_S_MAX: u64 = (1 << 63) - 1;

const SIGNATURE_PREFIX: &str = "\u{2014} ";
const KEY_ID_BYTES: usize = 4;

/// Why something is no note, or no part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More than [`NOTE_BYTES_MAX`].
    #[error("note is longer than {NOTE_BYTES_MAX} bytes")]
    TooLong,
    /// Without line feed at its end, or with another control character.
    #[error("note is not lines of plain text")]
    NotLines,
    /// Without an empty line and signatures after it.
    #[error("note is not signed")]
    NotSigned,
    /// More than [`SIGNATURES_MAX`].
    #[error("note has more than {SIGNATURES_MAX} signatures")]
    TooManySignatures,
    /// Not a dash, a name, and the base64 of a key id and a signature.
    #[error("signature line is malformed")]
    SignatureLine,
    /// Empty, or with a space, a plus or a control character.
    #[error("key name is empty or holds a space, a plus or a control character")]
    KeyName,
    /// Not a name, an id and a key, joined by plus signs.
    #[error("verifier key is malformed")]
    VerifierKey,
    /// Of a kind that is not verified here.
    #[error("verifier key has an unknown algorithm")]
    Algorithm,
    /// The id is another key's.
    #[error("verifier key has another id than it says")]
    KeyId,
}

/// Why a note is not to be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// Nobody known has signed it.
    #[error("no known key has signed the note")]
    NoKnownKey,
    /// Somebody known has signed something else.
    #[error("signature of {0} does not verify")]
    BadSignature(KeyName),
}

/// Whose key it is, like a URL without scheme: `logline.example/acme`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

impl KeyName {
    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for KeyName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |c: char| c.is_whitespace() || c == '+' || c < ' ';
        if text.is_empty() || text.contains(bad) {
            return Err(Error::KeyName);
        }
        Ok(Self(text.to_owned()))
    }
}

/// A few bytes of a hash over name, algorithm and key, by which a signature names its key. No proof of anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; KEY_ID_BYTES]);

impl KeyId {
    /// The id of a key.
    pub fn of(name: &KeyName, algorithm: Algorithm, key: &PublicKey) -> Self {
        let digest = Sha256::new()
            .chain_update(name.as_str())
            .chain_update([b'\n', algorithm.byte()])
            .chain_update(key.as_bytes())
            .finalize();
        let [a, b, c, d, ..] = <[u8; 32]>::from(digest);
        Self([a, b, c, d])
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

/// What a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// The text.
    Ed25519,
    /// A time and the text, as a witness does (C2SP `tlog-cosignature`).
    CosignatureV1,
}

impl Algorithm {
    const fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::CosignatureV1 => 0x04,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Ed25519, Self::CosignatureV1]
            .into_iter()
            .find(|algorithm| algorithm.byte() == byte)
    }
}

/// The key that verifies somebody's signatures; its text form is `<name>+<id>+<base64>`.
///
/// ```
/// use logline_proof::{Note, VerifierKey};
/// let key: VerifierKey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW".parse()?;
/// let note: Note = "If you think cryptography is the answer to your problem,
/// then you don't know what your problem is.
///
/// — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
/// ".parse()?;
/// assert_eq!(note.verify(&[key])?.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: KeyName,
    algorithm: Algorithm,
    key: PublicKey,
    id: KeyId,
}

impl VerifierKey {
    /// Somebody's key for signatures of that kind.
    pub fn new(name: KeyName, algorithm: Algorithm, key: PublicKey) -> Self {
        let id = KeyId::of(&name, algorithm, &key);
        Self {
            name,
            algorithm,
            key,
            id,
        }
    }

    /// Whose it is.
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// What it verifies.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key itself.
    pub const fn public_key(&self) -> &PublicKey {
        &self.key
    }

    /// How signatures name it.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// Whether the line says to be this key's.
    pub fn is_named_by(&self, line: &SignatureLine) -> bool {
        self.id == line.id && self.name == line.name
    }

    /// When the text was cosigned, or that it was signed; nothing if the signature is not this key's over the text.
    fn check(&self, text: &str, bytes: &[u8]) -> Option<Verified<'_>> {
        let (cosigned_at_s, message, signature) = match self.algorithm {
            Algorithm::Ed25519 => (None, text.to_owned(), bytes),
            Algorithm::CosignatureV1 => {
                let (at_s, signature) = bytes.split_first_chunk()?;
                let at_s = u64::from_be_bytes(*at_s);
                (Some(at_s), cosigned(text, at_s), signature)
            }
        };
        let signature = Signature::from_bytes(signature.try_into().ok()?);
        let in_time = cosigned_at_s.is_none_or(|at_s| at_s <= COSIGNED_AT_S_MAX);
        let verified = in_time && verify_message(&self.key, message.as_bytes(), &signature);
        verified.then_some(Verified {
            key: self,
            cosigned_at_s,
        })
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![self.algorithm.byte()];
        bytes.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, self.id, line::encode(&bytes))
    }
}

impl FromStr for VerifierKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (name, rest) = text.split_once('+').ok_or(Error::VerifierKey)?;
        let (id, key) = rest.split_once('+').ok_or(Error::VerifierKey)?;
        let bytes = line::decode(key).ok_or(Error::VerifierKey)?;
        let (algorithm, key) = bytes.split_first().ok_or(Error::VerifierKey)?;
        let algorithm = Algorithm::from_byte(*algorithm).ok_or(Error::Algorithm)?;
        let key = key.try_into().map_err(|_| Error::VerifierKey)?;
        let key = Self::new(name.parse()?, algorithm, PublicKey::from_bytes(key));
        if key.id.to_string() != id {
            return Err(Error::KeyId);
        }
        Ok(key)
    }
}

/// What a note says: lines of plain text, each with its line feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    /// The text, all lines with their line feeds.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Text {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.len() > NOTE_BYTES_MAX {
            return Err(Error::TooLong);
        }
        if !text.ends_with('\n') || text.contains(|c: char| c < ' ' && c != '\n') {
            return Err(Error::NotLines);
        }
        Ok(Self(text.to_owned()))
    }
}

/// One signature of a note, verified or not; printed without its line feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureLine {
    name: KeyName,
    id: KeyId,
    /// What the algorithm of the key makes of it; not empty.
    bytes: Vec<u8>,
}

impl SignatureLine {
    /// Signs as a log does.
    pub fn sign(text: &Text, name: &KeyName, key: &SigningKey) -> Self {
        // A text holds no zero byte, so that no span's signature is one over a text, or the other way round.
        let signature = key.sign_message(text.as_str().as_bytes());
        Self {
            name: name.clone(),
            id: KeyId::of(name, Algorithm::Ed25519, &key.public_key()),
            bytes: signature.as_bytes().to_vec(),
        }
    }

    /// Signs as a witness does, at a time in seconds since 1970.
    pub fn cosign(text: &Text, name: &KeyName, key: &SigningKey, at_s: u64) -> Self {
        let signature = key.sign_message(cosigned(text.as_str(), at_s).as_bytes());
        let mut bytes = at_s.to_be_bytes().to_vec();
        bytes.extend_from_slice(signature.as_bytes());
        Self {
            name: name.clone(),
            id: KeyId::of(name, Algorithm::CosignatureV1, &key.public_key()),
            bytes,
        }
    }

    /// Whose it says to be.
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// Which key of theirs it says to be.
    pub const fn id(&self) -> KeyId {
        self.id
    }
}

/// What a cosignature signs.
fn cosigned(text: &str, at_s: u64) -> String {
    format!("cosignature/v1\ntime {at_s}\n{text}")
}

impl fmt::Display for SignatureLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [self.id.0.as_slice(), &self.bytes].concat();
        write!(
            f,
            "{SIGNATURE_PREFIX}{} {}",
            self.name,
            line::encode(&bytes)
        )
    }
}

impl FromStr for SignatureLine {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parse = || {
            let (name, signature) = text.strip_prefix(SIGNATURE_PREFIX)?.split_once(' ')?;
            let bytes = line::decode(signature)?;
            let (id, bytes) = bytes.split_first_chunk()?;
            Some(Self {
                name: name.parse().ok()?,
                id: KeyId(*id),
                bytes: (!bytes.is_empty()).then(|| bytes.to_vec())?,
            })
        };
        parse().ok_or(Error::SignatureLine)
    }
}

/// Reads signature lines, each with its line feed; at least one.
pub fn signature_lines(text: &str) -> Result<Vec<SignatureLine>, Error> {
    let lines = text.strip_suffix('\n').ok_or(Error::NotSigned)?;
    if lines.split('\n').nth(SIGNATURES_MAX).is_some() {
        return Err(Error::TooManySignatures);
    }
    lines.split('\n').map(str::parse).collect()
}

/// A text with at least one signature, which may be anybody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: Text,
    signatures: Vec<SignatureLine>,
}

/// A signature that a known key has made over the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified<'k> {
    /// Whose.
    pub key: &'k VerifierKey,
    /// When, in seconds since 1970, if a witness says so.
    pub cosigned_at_s: Option<u64>,
}

impl Note {
    /// A text with its first signature.
    pub fn new(text: Text, signature: SignatureLine) -> Self {
        let signatures = vec![signature];
        Self { text, signatures }
    }

    /// What it says; not to be believed before [`Self::verify`].
    pub const fn text(&self) -> &Text {
        &self.text
    }

    /// All signatures, verified or not.
    pub fn signatures(&self) -> &[SignatureLine] {
        &self.signatures
    }

    /// Adds a signature in place of an earlier one that names the same key.
    pub fn add(&mut self, signature: SignatureLine) -> Result<(), Error> {
        let is_other = |old: &SignatureLine| (old.id, &old.name) != (signature.id, &signature.name);
        self.signatures.retain(is_other);
        if self.signatures.len() >= SIGNATURES_MAX {
            return Err(Error::TooManySignatures);
        }
        self.signatures.push(signature);
        Ok(())
    }

    /// Which of these keys have signed it, each once. Signatures of others are passed over; one that names a key of
    /// these and does not verify makes the whole note untrusted.
    pub fn verify<'k>(&self, keys: &'k [VerifierKey]) -> Result<Vec<Verified<'k>>, Untrusted> {
        let mut verified = Vec::<Verified<'k>>::new();
        for line in &self.signatures {
            let Some(key) = keys.iter().find(|key| key.is_named_by(line)) else {
                continue;
            };
            let new = key
                .check(self.text.as_str(), &line.bytes)
                .ok_or_else(|| Untrusted::BadSignature(key.name.clone()))?;
            if !verified.iter().any(|old| old.key == key) {
                verified.push(new);
            }
        }
        if verified.is_empty() {
            return Err(Untrusted::NoKnownKey);
        }
        Ok(verified)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text.as_str())?;
        for line in &self.signatures {
            write!(f, "\n{line}")?;
        }
        f.write_str("\n")
    }
}

impl FromStr for Note {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.len() > NOTE_BYTES_MAX {
            return Err(Error::TooLong);
        }
        // The last empty line, since the text may hold others.
        let empty = text.rfind("\n\n").ok_or(Error::NotSigned)?;
        let (text, signatures) = text.split_at_checked(empty + 1).ok_or(Error::NotSigned)?;
        let signatures = signatures.strip_prefix('\n').ok_or(Error::NotSigned)?;
        Ok(Self {
            text: text.parse()?,
            signatures: signature_lines(signatures)?,
        })
    }
}
