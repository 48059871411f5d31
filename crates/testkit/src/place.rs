use std::{fs::File, path::PathBuf, sync::OnceLock};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::expected;

/// A fresh directory that is gone when the value is dropped, or else with this process.
pub(crate) fn fresh() -> TempDir {
    expected(TempDir::new_in(root()))
}

/// One directory per test process. Statics are never dropped, so another process removes it after this one.
fn root() -> &'static PathBuf {
    static ROOT: OnceLock<(PathBuf, File)> = OnceLock::new();
    &ROOT.get_or_init(|| expected(make_root())).0
}

fn make_root() -> anyhow::Result<(PathBuf, File)> {
    let root = tempfile::Builder::new()
        .prefix("logline-test-")
        .tempdir()
        .context("cannot make a test directory")?
        .keep();
    let lock_file = root.join("lock");
    let lock = File::create(&lock_file)?;
    lock.lock()?;
    logline_stack::remove_when_this_process_ends(&lock_file, &root);
    Ok((root, lock))
}
