//! The proof that lets the API's login act for a person (LED-2): a message authentication code that covers the identity, the server
//! process and the transaction, so that nothing a statement sets by itself is believed.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use logline_span::Reader;

/// The key shared by the readers' process and the database function that checks.
#[derive(Clone)]
pub struct IdentityKey([u8; Self::LEN]);

impl IdentityKey {
    /// Bytes of a key.
    pub const LEN: usize = 32;
    /// Block of SHA-256, to which HMAC pads its key.
    const BLOCK: usize = 64;

    /// Takes over secret bytes, from a good source of randomness.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The code for a reader in one transaction of one server process.
    pub(crate) fn code(&self, reader: &Reader, backend: i32, transaction_micros: i64) -> String {
        // A slice of any length is a key for HMAC: this construction cannot fail.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else {
            return String::new();
        };
        mac.update(message(reader, backend, transaction_micros).as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }

    /// The key padded for the inner and the outer hash, as the database keeps it: Postgres has SHA-256 built in, HMAC not.
    pub(crate) fn pads(&self) -> ([u8; Self::BLOCK], [u8; Self::BLOCK]) {
        let mut inner = [0x36; Self::BLOCK];
        let mut outer = [0x5c; Self::BLOCK];
        for ((i, o), k) in inner.iter_mut().zip(outer.iter_mut()).zip(self.0) {
            *i ^= k;
            *o ^= k;
        }
        (inner, outer)
    }
}

impl std::fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdentityKey(hidden)")
    }
}

/// The same text as `app.proof` builds; a tenant holds no line break, and the principal comes last.
fn message(reader: &Reader, backend: i32, transaction_micros: i64) -> String {
    format!(
        "{backend}\n{transaction_micros}\n{}\n{}",
        reader.tenant, reader.principal
    )
}
