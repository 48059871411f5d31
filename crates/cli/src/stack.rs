//! The development stack of a directory: where it is, and how other commands find it.

use std::{
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Name of the directory that holds a stack.
const DIRECTORY: &str = ".logline";
/// File with the addresses of the stack that runs, or ran last, in the directory.
const ADDRESSES: &str = "stack.json";

/// What `logline dev` prints when it is ready: URLs that stock clients take as they are (CLI-2).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Addresses {
    pub(crate) api: String,
    /// Anyone's door to the bus.
    pub(crate) nats: String,
    /// The operator's login, which sees streams and consumers.
    #[serde(default)]
    pub(crate) nats_admin: String,
    /// A person's login, which sees what the token's principal may see.
    pub(crate) postgres: String,
    /// The operator's login, superuser of the private cluster.
    pub(crate) postgres_admin: String,
    pub(crate) token: String,
    pub(crate) tenant: String,
    pub(crate) principal: String,
}

/// The directory of the stack: as given, else the nearest `.logline` here or above, else `.logline` here.
pub(crate) fn directory(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(given) = given {
        return std::path::absolute(given)
            .with_context(|| format!("`{}` is no path", given.display()));
    }
    let here = std::env::current_dir().context("the current directory is gone")?;
    let found = here
        .ancestors()
        .map(|directory| directory.join(DIRECTORY))
        .find(|path| path.join(ADDRESSES).is_file());
    Ok(found.unwrap_or_else(|| here.join(DIRECTORY)))
}

/// The addresses of the stack in `directory`.
pub(crate) fn addresses(directory: &Path) -> Result<Addresses> {
    match read(&directory.join(ADDRESSES))? {
        Some(addresses) => Ok(addresses),
        None => bail!(
            "no stack in `{}`: start one with `logline dev`, name its directory with --dir, or give --api and --token",
            directory.display()
        ),
    }
}

/// Keeps the addresses for other commands.
pub(crate) fn keep_addresses(directory: &Path, addresses: &Addresses) -> Result<()> {
    write(&directory.join(ADDRESSES), addresses)
}

/// Makes a directory that its owner alone may enter.
pub(crate) fn make_private(directory: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("cannot make the directory `{}`", directory.display()))
}

/// Reads a JSON file; `None` where there is none.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read `{}`", path.display()));
        }
    };
    let value = serde_json::from_slice(&text)
        .with_context(|| format!("`{}` is damaged; move it away", path.display()))?;
    Ok(Some(value))
}

/// Writes a JSON file of mode 600, whole or not at all.
pub(crate) fn write<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    write_text(path, &(serde_json::to_string_pretty(value)? + "\n"))
}

/// Writes a file of mode 600, whole or not at all.
pub(crate) fn write_text(path: &Path, text: &str) -> Result<()> {
    written_beside(path, text)
        .and_then(|fresh| fs::rename(fresh, path))
        .with_context(|| format!("cannot write `{}`", path.display()))
}

/// Writes a JSON file of mode 600 where there is none, whole or not at all; says whether it did.
pub(crate) fn write_first<T: Serialize>(path: &Path, value: &T) -> Result<bool> {
    let text = serde_json::to_string_pretty(value)? + "\n";
    let place = || -> std::io::Result<bool> {
        let fresh = written_beside(path, &text)?;
        let linked = fs::hard_link(&fresh, path);
        fs::remove_file(&fresh)?;
        match linked {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    };
    place().with_context(|| format!("cannot write `{}`", path.display()))
}

fn written_beside(path: &Path, text: &str) -> std::io::Result<PathBuf> {
    let fresh = path.with_extension(format!("new-{}", std::process::id()));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(fresh)
}
