use std::{io, path::PathBuf, time::Duration};

/// Why a private server could not be found, started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program is not installed, or only in a release that is too old.
    #[error("{program} was not found: run `{}`, or {remedy}", crate::SETUP_COMMAND)]
    Missing {
        /// What is wanted, with its lowest release.
        program: &'static str,
        /// What to install by hand.
        remedy: &'static str,
    },
    /// Somebody listens on the wanted port.
    #[error("port {port} on 127.0.0.1 is taken by {holder}")]
    PortTaken {
        /// The port that was asked for.
        port: u16,
        /// Process id and command where the system tells them.
        holder: String,
    },
    /// Another live process runs a server in this directory.
    #[error("{} is in use by {holder}", dir.display())]
    DirectoryInUse {
        /// The server's directory.
        dir: PathBuf,
        /// Process id and command where the system tells them.
        holder: String,
    },
    /// The data belongs to somebody else.
    #[error("{} belongs to {owner}, and this process may not act for that user", dir.display())]
    DirectoryForeign {
        /// The server's directory.
        dir: PathBuf,
        /// User name or number.
        owner: String,
    },
    /// The cluster was made by a PostgreSQL that is not installed here.
    #[error("{} was made by PostgreSQL {wanted}, and this machine has {found}", dir.display())]
    ReleaseMismatch {
        /// The server's directory.
        dir: PathBuf,
        /// The major release that made it.
        wanted: u32,
        /// The major releases that were found.
        found: String,
    },
    /// The server ended, or said nothing, before it was ready.
    #[error("{program} did not become ready: {detail}")]
    NotReady {
        /// Which server.
        program: &'static str,
        /// The last lines it wrote.
        detail: String,
    },
    /// The server had to be killed.
    #[error("{program} did not stop within {} s and was killed", patience.as_secs())]
    NotStopped {
        /// Which server.
        program: &'static str,
        /// How long it was waited for.
        patience: Duration,
    },
    /// The system refused.
    #[error("{action}")]
    System {
        /// What was attempted.
        action: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// Names what was attempted when the system refuses.
pub(crate) trait Attempt<T> {
    fn attempt(self, action: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> Attempt<T> for Result<T, E> {
    fn attempt(self, action: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::System {
            action: action(),
            source: source.into(),
        })
    }
}
