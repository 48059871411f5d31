//! What only the system may write: types, names, keys and principals (`04`, `05`, `07`, `10` of the specification).

use crate::ids::{EntityType, Principal};

/// Types that are refused from anyone but the system's principals.
///
/// `request` and `status_patch` are written by people too, and so are the steps that parties take in a contract.
pub const TYPES: &[&str] = &[
    "alarm",
    "boot_event",
    "default",
    "execution",
    "fulfilment",
    "incident",
    "law.decision",
    "law.quarantine",
    "ledger_event",
    "manifest",
    "midnight.boundary",
    "midnight.tenant",
    "notification",
    "policy_error",
    "policy_update",
    "policy_violation",
    "provider_execution",
    "question",
    "reputation_change",
];

/// The tenant whose facts only the system's own credentials write.
pub const TENANT: &str = "system";

/// Beginnings of `who` that only the system may use.
pub const NAME_PREFIXES: &[&str] = &["edge:", "bootstrap:", "policy:", "function:"];

/// The beginning of idempotency keys that only the system may use.
pub const KEY_PREFIX: &str = "edge:";

/// Beginnings of principals that are the system's.
pub const PRINCIPAL_PREFIXES: &[&str] = &["edge:", "bootstrap:"];

/// The system's principals, all of them.
///
/// A closed list: bus permissions deny clients these addresses one by one (a wildcard is a whole token there), so a
/// name like `edge:anything` that is not listed is refused instead of trusted.
pub const PRINCIPALS: &[&str] = &[
    "bootstrap:seed",
    "edge:contract",
    "edge:doctor",
    "edge:governance",
    "edge:law",
    "edge:midnight",
    "edge:observer",
    "edge:policy_agent",
    "edge:projector",
    "edge:provider_exec",
    "edge:run_code",
    "edge:signer",
    "edge:stage0",
    "edge:supervisor",
    "edge:worker",
];

pub(crate) fn is_reserved_type(entity_type: &EntityType) -> bool {
    TYPES.binary_search(&entity_type.as_str()).is_ok()
}

pub(crate) fn is_known_principal(principal: &Principal) -> bool {
    PRINCIPALS.binary_search(&principal.as_str()).is_ok()
}

pub(crate) fn is_reserved_name(who: &str) -> bool {
    NAME_PREFIXES.iter().any(|prefix| who.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted_for_the_search() {
        assert!(TYPES.is_sorted() && PRINCIPALS.is_sorted());
        for name in PRINCIPALS {
            assert!(
                PRINCIPAL_PREFIXES
                    .iter()
                    .any(|prefix| name.starts_with(prefix)),
                "{name}"
            );
        }
    }
}
