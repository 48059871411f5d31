//! What a signer is told, and what it is given.

use std::time::Duration;

use logline_bus::Bus;
use logline_span::SigningKey;

use crate::witness::Witness;

/// Every knob of a signer; `cli` fills it in.
#[derive(Clone, Debug)]
pub struct Config {
    /// The least time between two heads of one tenant: what is sealed meanwhile is signed together.
    pub interval: Duration,
    /// Tenants whose heads are signed at the same time.
    pub parallel_max: usize,
    /// Who is asked to cosign every head (C2SP `tlog-witness`).
    pub witnesses: Vec<Witness>,
}

/// What a signer works with, under a login of its own each.
#[derive(Clone, Debug)]
pub struct Resources {
    /// The bus.
    pub bus: Bus,
    /// The ledger.
    pub ledger: logline_ledger::Signer,
    /// The log's key.
    pub key: SigningKey,
}
