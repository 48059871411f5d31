//! Why a tenant's head is not signed.

/// What a person must look at: the ledger does not go on from what was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Rows that a signed head covers are missing.
    #[error("the ledger does not reach the signed head at position {size}")]
    Shorter {
        /// Leaves of the signed tree.
        size: u64,
    },
    /// The rows or the stored nodes lead to another root.
    #[error("the ledger leads to another root than the one that was signed at position {size}")]
    Differs {
        /// Leaves of the signed tree.
        size: u64,
    },
    /// A head that no key of this log has signed stands where the newest one should.
    #[error("the newest head on the {place} is not signed by this log")]
    Foreign {
        /// Where it stands.
        place: Place,
    },
}

/// Where heads are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The stream of checkpoints.
    Bus,
    /// The ledger.
    Ledger,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bus => "bus",
            Self::Ledger => "ledger",
        })
    }
}

impl Fault {
    /// Its code in the incident.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Shorter { .. } => "log_shorter",
            Self::Differs { .. } => "log_differs",
            Self::Foreign { .. } => "log_foreign",
        }
    }
}

/// Why a head was not signed this time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error("another signer was faster")]
    Overtaken,
    #[error("the ledger cannot be used")]
    Ledger(#[from] logline_ledger::Error),
    #[error("the bus cannot be used")]
    Bus(#[from] logline_bus::Error),
    #[error("the tenant's origin is no name for a key")]
    Origin(#[from] logline_proof::checkpoint::Error),
    #[error("the ledger holds no such tree")]
    Tree(#[from] logline_proof::tree::FrontierError),
}

impl From<logline_bus::CheckpointError> for Trouble {
    fn from(error: logline_bus::CheckpointError) -> Self {
        match error {
            logline_bus::CheckpointError::Overtaken => Self::Overtaken,
            logline_bus::CheckpointError::Bus(error) => Self::Bus(error),
        }
    }
}
