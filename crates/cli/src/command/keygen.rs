//! `logline keygen`: an Ed25519 key pair, the private half in a file of mode 600 (DEP-5).

use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt, path::PathBuf};

use anyhow::{Context, Result};
use logline_span::SigningKey;
use serde_json::json;

use crate::{
    Exit,
    args::{Global, Output},
    output,
};

/// Flags of `logline keygen`.
#[derive(Debug, clap::Args)]
pub(crate) struct Keygen {
    /// The private key's file, which must not exist; PKCS#8 PEM.
    #[arg(value_name = "FILE", default_value = "logline-key.pem")]
    file: PathBuf,
    /// Also write the seed as 64 hexadecimal digits to FILE.hex.
    #[arg(long)]
    hex: bool,
}

pub(crate) fn run(global: &Global, command: &Keygen) -> Result<Exit> {
    let key = SigningKey::from_seed(&rand::random());
    write_private(&command.file, key.to_pem()?.as_bytes())?;
    if command.hex {
        let mut file = command.file.clone().into_os_string();
        file.push(".hex");
        write_private(
            &PathBuf::from(file),
            format!("{}\n", key.to_hex()).as_bytes(),
        )?;
    }
    let public_key = key.public_key().to_string();
    // What `auth_callout { issuer: … }` wants, where the key is to answer for clients of the bus.
    let issuer = logline_bus::issuer(&key)?;
    match output::form(global.output) {
        Output::Table => output::line(&format!(
            "private key in {}\npublic key {public_key}\nas an issuer on the bus {issuer}",
            command.file.display()
        ))?,
        Output::Json | Output::Ndjson => {
            let made = json!({"public_key": public_key, "issuer": issuer, "file": command.file});
            output::line(&made.to_string())?;
        }
    }
    Ok(Exit::Done)
}

fn write_private(path: &PathBuf, bytes: &[u8]) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| {
            format!(
                "cannot make `{}`; a key is never overwritten",
                path.display()
            )
        })?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write `{}`", path.display()))
}
