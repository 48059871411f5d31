//! Names of the metrics that this crate counts.

/// Heads signed, published and kept.
pub const CHECKPOINTS: &str = "logline_signer_checkpoints_total";
/// Rows that came under a signed head.
pub const LEAVES: &str = "logline_signer_leaves_total";
/// Heads of another signer that were found right and followed.
pub const ADOPTED: &str = "logline_signer_adopted_total";
/// Tenants whose log this process refuses to sign until a person acts.
pub const REFUSED: &str = "logline_signer_refused_tenants";
/// Attempts that failed because the bus or the ledger was away.
pub const FAILURES: &str = "logline_signer_failures_total";
/// Cosignatures of witnesses that were kept.
pub const COSIGNATURES: &str = "logline_signer_cosignatures_total";
/// Submissions of a head to a witness that won no cosignature.
pub const WITNESS_FAILURES: &str = "logline_signer_witness_failures_total";
