//! What a token comes to.

use std::collections::BTreeSet;

use logline_span::{Principal, Reader, RoleName, TenantId, Timestamp};

use crate::config::RoleTrust;

/// Whom a token stands for, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The tenant.
    pub tenant: TenantId,
    /// The principal within it, never one of the system's.
    pub principal: Principal,
    /// The roles that the token names. Those that its holder has are [`Verifier::roles`](crate::Verifier::roles).
    pub named_roles: BTreeSet<RoleName>,
    /// Whose word counts about them.
    pub role_trust: RoleTrust,
    /// When the token ends; none for a key without an end.
    pub expires_at: Option<Timestamp>,
}

impl Access {
    /// The holder as a reader of spans.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader {
            tenant: self.tenant.clone(),
            principal: self.principal.clone(),
        }
    }
}

/// Why a token is not believed. No text of the token is in it.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Longer than any token of ours or of an identity provider.
    #[error("the token is too long")]
    TooLong,
    /// Neither a JSON Web Token, an API key nor a configured token.
    #[error("the token is not one that this system knows")]
    Malformed,
    /// `alg` is neither EdDSA nor RS256, or not that of the key.
    #[error("the token is signed with an algorithm that is not taken here")]
    Algorithm,
    /// It asks to be understood in ways that are not (`crit`).
    #[error("the token has extensions that are not understood here")]
    Extension,
    /// No issuer has a key of that `kid`, or its signature is by another.
    #[error("the token is signed by no issuer of this system")]
    Signature,
    /// `aud`, `exp`, `sub` or `tenant` is missing or has another form.
    #[error("the token lacks a claim, or has one in a form that is not taken here")]
    Claims,
    /// It is meant for another system.
    #[error("the token is meant for another audience")]
    Audience,
    /// `iss` is not what the key's issuer calls itself.
    #[error("the token names another issuer than its key's")]
    Issuer,
    /// It has ended.
    #[error("the token has expired")]
    Expired,
    /// It has not begun.
    #[error("the token is not valid yet")]
    NotYet,
    /// Its issuer's key is not bound to its tenant.
    #[error("the token's issuer does not speak for that tenant")]
    Tenant,
    /// A principal or tenant of the system, which no issuer can name.
    #[error("the token names a principal or tenant of the system")]
    System,
    /// There is no such API key, or it has been revoked or has expired.
    #[error("the API key is unknown, revoked or expired")]
    UnknownKey,
    /// What decides lies in the ledger, which cannot be asked.
    #[error("the ledger, which knows the token, cannot be asked")]
    Ledger(#[source] logline_ledger::Error),
}
