//! Names of the signer's metrics.

/// Heads signed.
pub const SIGNED: &str = "logline_checkpoints_signed_total";

/// Tenants whose chain is not signed because it does not lead to the head that was signed last.
pub const REFUSED: &str = "logline_checkpoints_refused";
