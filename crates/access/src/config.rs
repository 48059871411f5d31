//! Whose tokens are believed.

use std::{collections::BTreeSet, path::PathBuf};

use logline_span::{Hash, Principal, PublicKey, RoleName, TenantId};

/// Whose tokens are believed, and for what.
#[derive(Clone, Debug)]
pub struct Config {
    /// What `aud` must name.
    pub audience: String,
    /// Those who sign tokens.
    pub issuers: Vec<Issuer>,
    /// Tokens that the configuration itself knows, by their digests.
    pub fixed_keys: Vec<FixedKey>,
    /// Whose word counts about roles.
    pub role_trust: RoleTrust,
}

/// Whose word counts about the roles that a token names (GOV-6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleTrust {
    /// A role counts where the ledger's grants agree.
    Ledger,
    /// A role counts as the issuer says, such as an identity provider that keeps the roles.
    Issuer,
}

/// One who signs tokens.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// What `iss` must be, where it is checked.
    pub name: Option<String>,
    /// The tenants for which it speaks.
    pub tenants: Tenants,
    /// Where its public keys are.
    pub source: Source,
}

/// The tenants that an issuer's keys are bound to; `system` is never one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenants {
    /// These, at least one.
    Listed(Vec<TenantId>),
    /// All: for an operator that is the one issuer of a system.
    Every,
}

impl Tenants {
    /// Whether the issuer speaks for the tenant.
    pub(crate) fn hold(&self, tenant: &TenantId) -> bool {
        match self {
            Self::Listed(tenants) => tenants.contains(tenant),
            Self::Every => true,
        }
    }

    /// The tenant of a token that names none.
    pub(crate) fn only(&self) -> Option<&TenantId> {
        match self {
            Self::Listed(tenants) => match tenants.as_slice() {
                [only] => Some(only),
                _ => None,
            },
            Self::Every => None,
        }
    }
}

/// Where an issuer's public keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// One Ed25519 key; its `kid` is its 64 hexadecimal digits.
    Key(PublicKey),
    /// A JSON Web Key Set in a file.
    File(PathBuf),
    /// A JSON Web Key Set at an address: `https`, or `http` on this machine.
    Url(String),
}

/// A bearer token, known by its digest alone, and whom it stands for.
#[derive(Clone, Debug)]
pub struct FixedKey {
    /// BLAKE3 of the token's text (`blake3:<64 hex>`).
    pub digest: Hash,
    /// The tenant that it is bound to.
    pub tenant: TenantId,
    /// The principal that it speaks for, never one of the system's.
    pub principal: Principal,
    /// The roles that it has, by the operator's word.
    pub roles: BTreeSet<RoleName>,
}

impl FixedKey {
    /// The entry for a token whose text is at hand, without roles.
    #[must_use]
    pub fn of(text: &str, tenant: TenantId, principal: Principal) -> Self {
        Self {
            digest: Hash::of(text.as_bytes()),
            tenant,
            principal,
            roles: BTreeSet::new(),
        }
    }
}

/// What cannot be configured.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A token or issuer for what only the system's own credentials may be (API-2).
    #[error("`{principal}` of tenant `{tenant}` belongs to the system: no token stands for it")]
    SystemToken {
        /// The tenant as configured.
        tenant: TenantId,
        /// The principal as configured.
        principal: Principal,
    },
    /// An issuer that would speak for the system's tenant.
    #[error("an issuer is bound to the tenant `system`, for which none can speak")]
    SystemTenant,
    /// An issuer that speaks for nobody.
    #[error("an issuer is bound to no tenant")]
    NoTenant,
    /// Without an audience any token of an identity provider would be taken.
    #[error("the audience of tokens is empty")]
    NoAudience,
    /// Keys over a connection that anyone may change.
    #[error("`{0}` is no address for keys: they come by https, or by http from this machine")]
    Url(String),
    /// A file of keys that cannot be read.
    #[error("the keys in `{path}` cannot be read")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: std::io::Error,
    },
}
