//! Ed25519 signatures over content hashes (SPAN-7).

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::Signer as _;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};

use crate::hash::{Hash, hex_bytes, hex_text};
use crate::refusal::{Code, Refusal};

const PREFIX: &str = "ed25519:";
const DOMAIN: &[u8; 16] = b"logline-span-v1\0";

/// An Ed25519 signature; its text form is `ed25519:` and 128 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature([u8; 64]);

impl Signature {
    /// The signature with these bytes; whether it verifies is another question.
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The 64 bytes.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 128];
        f.write_str(PREFIX)?;
        f.write_str(hex_text(&self.0, &mut digits))
    }
}

impl FromStr for Signature {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        text.strip_prefix(PREFIX)
            .and_then(hex_bytes)
            .map(Self)
            .ok_or_else(|| {
                Refusal::new(
                    Code::InvalidValue,
                    "must be ed25519: and 128 lower-case hex digits",
                )
            })
    }
}

/// The key that verifies an author's signatures; its text form is 64 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// The key with these bytes; whether it is a point of the curve shows when it verifies.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 64];
        f.write_str(hex_text(&self.0, &mut digits))
    }
}

impl FromStr for PublicKey {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        hex_bytes(text)
            .map(Self)
            .ok_or_else(|| Refusal::new(Code::InvalidValue, "must be 64 lower-case hex digits"))
    }
}

/// A private key; zeroed when dropped, and never shown.
///
/// ```
/// use logline_span::{Hash, SigningKey, signature::verify_content};
/// let key = SigningKey::from_seed(&[7; 32]);
/// let hash = Hash::of(b"canonical bytes");
/// assert!(verify_content(&key.public_key(), &hash, &key.sign_content(&hash)));
/// ```
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

/// Why a private key could not be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither PKCS#8 PEM nor 64 hex digits.
    #[error("private key is not an Ed25519 key in PKCS#8 PEM")]
    Pem,
    /// Not 64 hex digits.
    #[error("private key is not 64 hex digits")]
    Hex,
}

impl SigningKey {
    /// The key with this seed, which must come from a source of randomness fit for keys.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// Reads a PKCS#8 PEM document.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        ed25519_dalek::SigningKey::from_pkcs8_pem(text)
            .map(Self)
            .map_err(|_| KeyError::Pem)
    }

    /// Writes a PKCS#8 PEM document.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        self.0
            .to_pkcs8_pem(LineEnding::LF)
            .map(|text| text.as_str().to_owned())
            .map_err(|_| KeyError::Pem)
    }

    /// Reads the seed as 64 hex digits.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        let mut seed = [0; 32];
        hex::decode_to_slice(text, &mut seed).map_err(|_| KeyError::Hex)?;
        Ok(Self::from_seed(&seed))
    }

    /// The seed as 64 hex digits.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0.as_bytes())
    }

    /// The 32 bytes from which the key is made again: as secret as the key.
    pub fn to_seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The key that verifies what this one signs.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs a content hash as SPAN-7 says.
    pub fn sign_content(&self, hash: &Hash) -> Signature {
        Signature(self.0.sign(&message(hash)).to_bytes())
    }

    /// Signs bytes of another format as they are. That format keeps them apart from a span's: none of its messages
    /// may begin with `"logline-span-v1\0"`.
    pub fn sign_message(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("public_key", &self.public_key())
            .finish_non_exhaustive()
    }
}

/// Whether `signature` is `key`'s over that content; malleable signatures and small-order keys never are.
///
/// One by one, never by a batch equation: that accepts, by chance, some crafted signatures which the strict check
/// refuses, and the chain must be the same whenever it is sealed again (LED-7).
pub fn verify_content(key: &PublicKey, hash: &Hash, signature: &Signature) -> bool {
    verify_message(key, &message(hash), signature)
}

/// Whether each signature is its key's over its content, by one equation for all of them, at half the cost or less.
///
/// For auditing what was checked one by one when it was sealed: it refuses every forgery, but may accept what the holder of a
/// key can craft on purpose and [`verify_content`] refuses. Where it says no, one of them is wrong, or it is such a one:
/// check one by one.
pub fn verify_contents(signed: &[(PublicKey, Hash, Signature)]) -> bool {
    let messages: Vec<[u8; 48]> = signed.iter().map(|(_, hash, _)| message(hash)).collect();
    let messages: Vec<&[u8]> = messages.iter().map(<[u8; 48]>::as_slice).collect();
    let signatures = signed.iter().map(|(.., signature)| &signature.0);
    let signatures: Vec<_> = signatures
        .map(ed25519_dalek::Signature::from_bytes)
        .collect();
    // Under a key of small order anybody can sign.
    let key = |(key, ..): &(PublicKey, Hash, Signature)| {
        let key = ed25519_dalek::VerifyingKey::from_bytes(&key.0).ok()?;
        (!key.is_weak()).then_some(key)
    };
    let keys: Option<Vec<_>> = signed.iter().map(key).collect();
    keys.is_some_and(|keys| ed25519_dalek::verify_batch(&messages, &signatures, &keys).is_ok())
}

/// Whether `signature` is `key`'s over exactly these bytes; as strict as [`verify_content`].
pub fn verify_message(key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
    let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
    ed25519_dalek::VerifyingKey::from_bytes(&key.0)
        .is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
}

fn message(hash: &Hash) -> [u8; 48] {
    let mut message = [0; 48];
    let (domain, content) = message.split_at_mut(DOMAIN.len());
    domain.copy_from_slice(DOMAIN);
    content.copy_from_slice(hash.as_bytes());
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_signatures_hold_together_or_not_at_all() {
        let sign = |seed: u8| {
            let (key, hash) = (SigningKey::from_seed(&[seed; 32]), Hash::of(&[seed]));
            (key.public_key(), hash, key.sign_content(&hash))
        };
        let signed: Vec<_> = (0..40).map(|number| sign(number % 7)).collect();
        assert!(verify_contents(&signed) && verify_contents(&[]));
        let other = sign(9);
        for place in [0, 17, 39] {
            for wrong in [
                (other.0, signed[place].1, signed[place].2),
                (signed[place].0, other.1, signed[place].2),
                (signed[place].0, signed[place].1, other.2),
                // The neutral element: with it as key and as R, and s = 0, any message would be signed.
                (
                    PublicKey::from_bytes(neutral()),
                    other.1,
                    Signature::from_bytes([neutral(), [0; 32]].concat().try_into().unwrap()),
                ),
            ] {
                let mut signed = signed.clone();
                signed[place] = wrong;
                assert!(!verify_contents(&signed), "{place}");
            }
        }
    }

    fn neutral() -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[0] = 1;
        bytes
    }

    #[test]
    fn a_key_survives_its_texts_and_never_shows_itself() {
        let key = SigningKey::from_seed(&[9; 32]);
        assert_eq!(
            SigningKey::from_pem(&key.to_pem().unwrap())
                .unwrap()
                .to_hex(),
            key.to_hex()
        );
        assert_eq!(
            SigningKey::from_hex(&key.to_hex()).unwrap().public_key(),
            key.public_key()
        );
        assert!(!format!("{key:?}").contains(&key.to_hex()));
        assert_eq!(SigningKey::from_hex("0909").unwrap_err(), KeyError::Hex);
        assert_eq!(SigningKey::from_pem("no").unwrap_err(), KeyError::Pem);
    }
}
