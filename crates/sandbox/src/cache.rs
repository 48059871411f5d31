//! Keeps the compiled engine in a directory of this user's alone.
//!
//! A file's name ends in the digest of its content, so that a torn or altered file is told from a whole one.
//! Compiled code is trusted as this program is: only files that nobody else can write are considered.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use nix::{fcntl::OFlag, unistd::geteuid};

/// The compiled form that has `key` in its name, open and checked.
pub(crate) fn find(directory: &Path, key: &str) -> io::Result<Option<File>> {
    own_directory(directory)?;
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let Some(digest) = name.to_str().and_then(|name| digest_in(name, key)) else {
            continue;
        };
        let path = directory.join(&name);
        if let Some(file) = open_checked(&path, digest)? {
            return Ok(Some(file));
        }
        tracing::warn!(path = %path.display(), "the cached engine is damaged; it is compiled again");
        fs::remove_file(&path)?;
    }
    Ok(None)
}

/// Keeps the compiled form and gives it back as a file.
pub(crate) fn store(directory: &Path, key: &str, compiled: &[u8]) -> io::Result<File> {
    own_directory(directory)?;
    let mut file = tempfile::Builder::new()
        .prefix(".engine-")
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(directory)?;
    file.write_all(compiled)?;
    let name = format!("{key}.{}.cwasm", blake3::hash(compiled));
    file.persist(directory.join(name))
        .map_err(|error| error.error)
}

fn digest_in<'a>(name: &'a str, key: &str) -> Option<&'a str> {
    name.strip_prefix(key)?
        .strip_prefix('.')?
        .strip_suffix(".cwasm")
}

fn open_checked(path: &Path, digest: &str) -> io::Result<Option<File>> {
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.uid() != geteuid().as_raw() || metadata.mode() & 0o077 != 0 {
        return Ok(None);
    }
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    file.rewind()?;
    Ok((blake3::hash(&content).to_hex().as_str() == digest).then_some(file))
}

fn own_directory(directory: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let metadata = fs::symlink_metadata(directory)?;
    if !metadata.is_dir() || metadata.uid() != geteuid().as_raw() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the directory belongs to another user",
        ));
    }
    if metadata.mode() & 0o077 != 0 {
        fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(mut file: File) -> Vec<u8> {
        let mut content = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut content).unwrap();
        content
    }

    fn only_file(directory: &Path) -> std::path::PathBuf {
        let mut entries = fs::read_dir(directory).unwrap();
        let path = entries.next().unwrap().unwrap().path();
        assert!(entries.next().is_none());
        path
    }

    #[test]
    fn what_was_stored_is_found_under_its_key_alone() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("a/b");
        assert_eq!(content(store(&directory, "key", b"code").unwrap()), b"code");
        assert_eq!(content(find(&directory, "key").unwrap().unwrap()), b"code");
        assert!(find(&directory, "other").unwrap().is_none());
        assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
        assert_eq!(
            fs::metadata(only_file(&directory)).unwrap().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn a_damaged_file_is_not_found_and_goes_away() {
        let directory = tempfile::tempdir().unwrap();
        store(directory.path(), "key", b"code").unwrap();
        fs::write(only_file(directory.path()), b"evil").unwrap();
        assert!(find(directory.path(), "key").unwrap().is_none());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_others_may_write_is_not_found() {
        let directory = tempfile::tempdir().unwrap();
        store(directory.path(), "key", b"code").unwrap();
        fs::set_permissions(only_file(directory.path()), Permissions::from_mode(0o666)).unwrap();
        assert!(find(directory.path(), "key").unwrap().is_none());
    }

    #[test]
    fn a_link_to_elsewhere_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let name = format!("key.{}.cwasm", blake3::hash(b"code"));
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("code"), b"code").unwrap();
        std::os::unix::fs::symlink(elsewhere.path().join("code"), directory.path().join(name))
            .unwrap();
        assert!(find(directory.path(), "key").is_err());
    }
}
