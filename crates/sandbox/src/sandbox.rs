//! The pool of instances and the threads that they run on.

use std::path::PathBuf;

use crate::run::{Outcome, Run};

/// How a sandbox is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the compiled engine is kept; created with mode 700 if need be, and shared with other processes of this user.
    pub cache_dir: PathBuf,
    /// How many runs go on at the same time, each on a thread of its own.
    pub instances: usize,
    /// How many runs wait for a free instance before [`Sandbox::run`] itself waits.
    pub queue: usize,
    /// The largest linear memory that any run may have.
    pub memory_bytes_max: usize,
}

/// Why a sandbox cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {}

/// Runs untrusted code. Clones share one pool.
#[derive(Clone)]
pub struct Sandbox {}

impl Sandbox {
    /// Starts the pool and returns at once; the engine is loaded (or compiled, where the cache is cold) meanwhile.
    ///
    /// # Errors
    /// When the threads cannot be started.
    pub fn new(_config: Config) -> Result<Self, Error> {
        todo!()
    }

    /// Waits until the engine is loaded.
    ///
    /// # Errors
    /// When it cannot be.
    pub async fn ready(&self) -> Result<(), Error> {
        todo!()
    }

    /// Runs one function. Dropping the future does not stop a run that has begun: its deadline does.
    pub async fn run(&self, _run: Run) -> Outcome {
        todo!()
    }
}
