//! Tokens of our own.

use std::{collections::BTreeSet, time::Duration};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use logline_span::{Principal, RoleName, SigningKey, TenantId, Timestamp};

use crate::{
    algorithm,
    token::{self, Claims},
};

/// Longest life of a token: it cannot be taken back one by one.
pub(crate) const TTL_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// Whom a token is to stand for.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The tenant.
    pub tenant: TenantId,
    /// The principal within it.
    pub principal: Principal,
    /// Roles that it names; they count as far as the ledger grants them.
    pub roles: BTreeSet<RoleName>,
    /// How long it lives.
    pub ttl: Duration,
}

/// Why a token was not made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// API-2: what only the system's own credentials may be.
    #[error(
        "tenant `system` and the principals `edge:…` and `bootstrap:…` are the system's: no token stands for them"
    )]
    System,
    /// A life that is none, or too long.
    #[error("a token lives for at least a second and at most 366 days")]
    Ttl,
    /// The token cannot be written.
    #[error("the token cannot be written")]
    Write(#[source] jsonwebtoken::errors::Error),
}

/// Signs tokens as one issuer.
#[derive(Debug)]
pub struct Minter {
    key: SigningKey,
    audience: String,
}

impl Minter {
    /// Signs with this key, for this audience.
    #[must_use]
    pub fn new(key: SigningKey, audience: impl Into<String>) -> Self {
        algorithm::install();
        Self {
            key,
            audience: audience.into(),
        }
    }

    /// Makes a token that begins now.
    ///
    /// # Errors
    /// Who may not have one, or not for so long.
    pub fn mint(&self, grant: &Grant, now: Timestamp) -> Result<String, MintError> {
        if token::is_systems(&grant.tenant, &grant.principal) {
            return Err(MintError::System);
        }
        if grant.ttl < Duration::from_secs(1) || grant.ttl > TTL_MAX {
            return Err(MintError::Ttl);
        }
        let issued_at = u64::try_from(now.as_micros() / 1_000_000).unwrap_or_default();
        #[expect(
            clippy::cast_precision_loss,
            reason = "seconds stay exact for the next hundred million years"
        )]
        let exp = issued_at.saturating_add(grant.ttl.as_secs()) as f64;
        let claims = Claims {
            iss: None,
            sub: grant.principal.to_string(),
            tenant: Some(grant.tenant.to_string()),
            roles: grant.roles.iter().map(ToString::to_string).collect(),
            aud: self.audience.clone().into(),
            iat: Some(issued_at),
            exp,
            jti: Some(hex::encode(rand::random::<[u8; 16]>())),
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.key.public_key().to_string());
        let key = EncodingKey::from_ed_der(&self.key.to_seed());
        encode(&header, &claims, &key).map_err(MintError::Write)
    }
}
