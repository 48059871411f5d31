use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::{Error, error::Attempt, port::describe_process};

/// One server's directory, held by this process for as long as the value lives.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    lock: File,
}

impl Directory {
    /// Creates the directory where it is missing and takes its lock.
    pub(crate) fn hold(path: &Path) -> Result<Directory, Error> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .attempt(|| format!("cannot create {}", path.display()))?;
        let path = path
            .canonicalize()
            .attempt(|| format!("cannot open {}", path.display()))?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(lock_file(&path))
            .attempt(|| format!("cannot open {}", lock_file(&path).display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // An unreadable note leaves the holder unnamed; the refusal stands.
                let _ = lock.read_to_string(&mut holder);
                let holder = holder
                    .trim()
                    .parse()
                    .map_or_else(|_| "another process".to_owned(), describe_process);
                return Err(Error::DirectoryInUse { dir: path, holder });
            }
            Err(TryLockError::Error(source)) => {
                return Err(source).attempt(|| format!("cannot lock {}", path.display()));
            }
        }
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| write!(lock, "{}", std::process::id()))
            .attempt(|| format!("cannot write {}", lock_file(&path).display()))?;
        Ok(Directory { path, lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Directory {
    /// Closing the file is not enough: a child that another thread is just starting holds it too, until it is another program.
    fn drop(&mut self) {
        // The kernel does it at the end of the process at the latest.
        let _ = self.lock.unlock();
    }
}

/// The file whose lock says that a process runs a server in this directory; it holds that process's id.
pub(crate) fn lock_file(path: &Path) -> PathBuf {
    path.join("lock")
}

/// The user that a file or directory belongs to.
pub(crate) fn owner(path: &Path) -> Result<u32, Error> {
    fs::metadata(path)
        .map(|found| found.uid())
        .attempt(|| format!("cannot open {}", path.display()))
}
