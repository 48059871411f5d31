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

/// What the signer's own login may publish to, and nothing else (BUS-7): to follow the timeline, to read and write signed
/// heads, to report an incident.
#[must_use]
pub fn signer_addresses() -> Vec<String> {
    let mut addresses = [
        "$JS.API.STREAM.INFO.TIMELINE",
        "$JS.API.CONSUMER.CREATE.TIMELINE.*",
        "$JS.API.CONSUMER.MSG.NEXT.TIMELINE.*",
        "$JS.API.CONSUMER.DELETE.TIMELINE.*",
        "$JS.API.DIRECT.GET.CHECKPOINTS",
        "ledger.checkpoint.*",
    ]
    .map(str::to_owned)
    .to_vec();
    addresses.push(format!("ingest.*.{}.incident", token::encoded(SIGNER)));
    addresses
}

/// What the login of the other parts may not publish to: signed heads are the signer's alone (LED-8).
#[must_use]
pub fn signed_addresses() -> Vec<String> {
    vec!["ledger.>".to_owned()]
}

const SIGNER: &str = "edge:signer";
