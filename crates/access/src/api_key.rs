//! API keys: for programs that cannot fetch a token again and again.

use std::str::FromStr;

use logline_span::Hash;

use crate::access::Refused;

const PREFIX: &str = "llk_";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;

/// An API key, `llk_<id>_<secret>`. The text exists where it is made and where it is used; the ledger has its digest.
///
/// A digest without salt and stretching is enough at rest: the secret is 256 random bits, which nobody guesses, while those
/// measures protect what people choose. And a look-up by digest takes the same time whatever is right about a guess.
pub struct ApiKey {
    id: [u8; ID_BYTES],
    secret: [u8; SECRET_BYTES],
}

impl ApiKey {
    /// Draws a key.
    #[must_use]
    pub fn generate() -> Self {
        Self {
            id: rand::random(),
            secret: rand::random(),
        }
    }

    /// Whether the text claims to be an API key.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// The id, which is no secret.
    #[must_use]
    pub fn id(&self) -> String {
        hex::encode(self.id)
    }

    /// The key itself: shown once.
    #[must_use]
    pub fn expose(&self) -> String {
        format!("{PREFIX}{}_{}", self.id(), hex::encode(self.secret))
    }

    /// What is kept at rest.
    #[must_use]
    pub fn digest(&self) -> Hash {
        Hash::of(self.expose().as_bytes())
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiKey")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

impl FromStr for ApiKey {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        let parts = text.strip_prefix(PREFIX).and_then(|it| it.split_once('_'));
        let (id, secret) = parts.ok_or(Refused::UnknownKey)?;
        let mut key = Self {
            id: [0; ID_BYTES],
            secret: [0; SECRET_BYTES],
        };
        let read = hex::decode_to_slice(id, &mut key.id)
            .and_then(|()| hex::decode_to_slice(secret, &mut key.secret));
        match read {
            Ok(()) if key.expose() == text => Ok(key),
            _ => Err(Refused::UnknownKey),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_from_its_text_alone_and_never_shown() {
        let key = ApiKey::generate();
        let text = key.expose();
        let read: ApiKey = text.parse().unwrap();
        assert_eq!(read.digest(), key.digest());
        assert!(!format!("{key:?}").contains(&hex::encode(key.secret)));
        let wrong = [
            text.to_uppercase(),
            text.replace("llk_", "llk_0"),
            format!("{text} "),
            text.chars().take(40).collect(),
            "llk_".to_owned(),
            String::new(),
        ];
        for wrong in wrong {
            assert!(wrong.parse::<ApiKey>().is_err(), "{wrong}");
        }
    }
}
