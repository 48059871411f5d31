//! What only this stack knows: made once, kept in a file of mode 600.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use logline_bus::access::Login;
use logline_span::{Hash, PublicKey, SigningKey};
use serde::{Deserialize, Serialize};

use crate::{parts, stack};

const FILE: &str = "secrets.json";
/// File with the log's own key, which no part but the signer reads.
const SIGNER_KEY_FILE: &str = "signer.key";
/// File with the key that signs bearer tokens.
const ISSUER_KEY_FILE: &str = "issuer.key";

/// Passwords, keys and the name of the log.
#[derive(Serialize, Deserialize)]
pub(super) struct Secrets {
    pub(super) log_name: String,
    /// From which the passwords of the bus's logins are derived.
    bus: String,
    pub(super) superuser: String,
    pub(super) projector: String,
    pub(super) reader: String,
    pub(super) actor: String,
    #[serde(default = "password")]
    pub(super) signer: String,
    #[serde(default = "password")]
    pub(super) outbox: String,
    pub(super) verifier: String,
    pub(super) client: String,
    pub(super) identity_key_hex: String,
    pub(super) signing_key_hex: String,
    pub(super) token: String,
}

impl Secrets {
    /// The secrets of the stack in `directory`, made where there are none.
    pub(super) fn of(directory: &Path) -> Result<Self> {
        let file = directory.join(FILE);
        if let Some(kept) = Self::kept(&file)? {
            return Ok(kept);
        }
        let made = Self {
            log_name: format!(
                "dev-{}.logline.local",
                hex::encode(rand::random::<[u8; 4]>())
            ),
            bus: password(),
            superuser: password(),
            projector: password(),
            reader: password(),
            actor: password(),
            signer: password(),
            outbox: password(),
            verifier: password(),
            client: password(),
            identity_key_hex: key_hex(),
            signing_key_hex: key_hex(),
            token: format!("logline_{}", password()),
        };
        if stack::write_first(&file, &made)? {
            return Ok(made);
        }
        // Another `logline dev` of this directory was first.
        Self::kept(&file)?.with_context(|| format!("`{}` is gone", file.display()))
    }

    /// The password of a part's login on the bus.
    pub(super) fn bus(&self, login: Login) -> String {
        let secret = Hash::of(format!("{}/{}", self.bus, login.name()).as_bytes());
        hex::encode(secret.as_bytes())
    }

    fn kept(file: &Path) -> Result<Option<Self>> {
        let Some(kept) = stack::read::<serde_json::Value>(file)? else {
            return Ok(None);
        };
        let secrets: Self = serde_json::from_value(kept.clone())
            .with_context(|| format!("`{}` cannot be read", file.display()))?;
        // A stack of an earlier release lacks some, which stay what they are from now on.
        if serde_json::to_value(&secrets)? != kept {
            stack::write(file, &secrets)?;
        }
        Ok(Some(secrets))
    }
}

fn key_hex() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}

/// The file with the log's key, made where there is none.
pub(super) fn signer_key(directory: &Path) -> Result<PathBuf> {
    let file = directory.join(SIGNER_KEY_FILE);
    if !file.is_file() {
        let key = SigningKey::from_seed(&rand::random());
        stack::write_text(&file, &key.to_pem()?)?;
    }
    Ok(file)
}

/// The file with the key that signs this stack's bearer tokens, made where there is none; and its public half.
pub(super) fn issuer_key(directory: &Path) -> Result<(PathBuf, PublicKey)> {
    let file = directory.join(ISSUER_KEY_FILE);
    if !file.is_file() {
        let key = SigningKey::from_seed(&rand::random());
        stack::write_text(&file, &key.to_pem()?)?;
    }
    let key = parts::key_of_file(&file.to_string_lossy())?;
    Ok((file, key.public_key()))
}

/// 128 random bits, in digits that no URL has to escape.
fn password() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}
