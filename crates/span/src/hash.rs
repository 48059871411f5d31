//! BLAKE3 hashes in the text form of the envelope.

use std::fmt;
use std::str::FromStr;

use crate::refusal::{Code, Refusal};

const PREFIX: &str = "blake3:";

/// A BLAKE3 hash; its text form is `blake3:` and 64 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; 32]);

impl Hash {
    /// The hash with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Hashes `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 64];
        f.write_str(PREFIX)?;
        f.write_str(hex_text(&self.0, &mut digits))
    }
}

impl FromStr for Hash {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        text.strip_prefix(PREFIX)
            .and_then(hex_bytes)
            .map(Self)
            .ok_or_else(|| {
                Refusal::new(
                    Code::InvalidValue,
                    "must be blake3: and 64 lower-case hex digits",
                )
            })
    }
}

/// The bytes of exactly 2N lower-case hex digits: one text per value, so that canonical text is the only text.
pub(crate) fn hex_bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    (lower && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(bytes)
}

/// The hex text of `bytes`, written into `digits`, which is twice as long.
pub(crate) fn hex_text<'a>(bytes: &[u8], digits: &'a mut [u8]) -> &'a str {
    hex::encode_to_slice(bytes, digits)
        .ok()
        .and_then(|()| std::str::from_utf8(digits).ok())
        .unwrap_or_default()
}
