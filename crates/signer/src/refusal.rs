//! Why a tenant's log is not signed any more: what is there does not extend what was signed.

/// What was found. Only a person can say what it means: a forged row, a restored backup, a lost disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the ledger ends at position {sealed}, before the signed head at {signed}")]
    Shorter { sealed: u64, signed: u64 },
    #[error("the rows up to position {size} do not give the root that was signed")]
    Root { size: u64 },
    #[error("the row at position {position} is not the one that was signed")]
    Row { position: u64 },
    #[error("a row is missing before position {position}")]
    Gap { position: u64 },
    #[error("the row at position {position} cannot be read")]
    Unreadable { position: i64 },
    #[error("the stored node {index} of level {level} is not the one that the rows give")]
    Node { level: u8, index: u64 },
    #[error("the newest head {place} is not one that this log has signed")]
    Untrusted { place: Place },
    #[error("another root is kept for the signed head at {size}")]
    Kept { size: u64 },
    #[error("the log's name cannot be the name of a key")]
    Name,
}

/// Where a signed head was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Bus,
    Ledger,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bus => "on the bus",
            Self::Ledger => "in the ledger",
        })
    }
}

impl Refusal {
    /// The name by which programs know it.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Shorter { .. } => "ledger_shorter",
            Self::Root { .. } => "root_differs",
            Self::Row { .. } => "row_differs",
            Self::Gap { .. } => "row_missing",
            Self::Unreadable { .. } => "row_unreadable",
            Self::Node { .. } => "node_differs",
            Self::Untrusted { .. } => "head_untrusted",
            Self::Kept { .. } => "head_differs",
            Self::Name => "log_name",
        }
    }
}
