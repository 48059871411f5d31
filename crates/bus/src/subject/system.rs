//! Addresses that belong to the system.

use logline_span::reserved;

use super::token;

/// The addresses that only the system's own credentials may publish to (BUS-1, BUS-7), as a server's permissions name them.
#[must_use]
pub fn system_addresses() -> Vec<String> {
    let mut addresses = ["timeline.>", "timer.>", "ledger.>"]
        .map(str::to_owned)
        .to_vec();
    // A wildcard stands for a whole token, so each of the system's principals has an entry of its own.
    addresses.extend(
        reserved::PRINCIPALS
            .iter()
            .map(|principal| format!("ingest.*.{}.>", token::encoded(principal))),
    );
    addresses
}
