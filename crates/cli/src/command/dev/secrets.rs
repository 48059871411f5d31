//! What only this stack knows: made once, kept in a file of mode 600.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::stack;

const FILE: &str = "secrets.json";

/// Passwords, keys and the name of the log.
#[derive(Serialize, Deserialize)]
pub(super) struct Secrets {
    pub(super) log_name: String,
    pub(super) bus: String,
    pub(super) superuser: String,
    pub(super) projector: String,
    pub(super) reader: String,
    pub(super) actor: String,
    pub(super) verifier: String,
    #[serde(default = "password")]
    pub(super) signer: String,
    pub(super) client: String,
    pub(super) identity_key_hex: String,
    pub(super) signing_key_hex: String,
    #[serde(default = "key_hex")]
    pub(super) log_key_hex: String,
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
            verifier: password(),
            signer: password(),
            client: password(),
            identity_key_hex: key_hex(),
            signing_key_hex: key_hex(),
            log_key_hex: key_hex(),
            token: format!("logline_{}", password()),
        };
        if stack::write_first(&file, &made)? {
            return Ok(made);
        }
        // Another `logline dev` of this directory was first.
        Self::kept(&file)?.with_context(|| format!("`{}` is gone", file.display()))
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

/// 128 random bits, in digits that no URL has to escape.
fn password() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}
