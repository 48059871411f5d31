//! JSON Web Tokens: what one must say to be believed.

use std::collections::BTreeSet;

use jsonwebtoken::{
    Algorithm, Header, Validation, dangerous::insecure_decode, decode, decode_header,
    errors::ErrorKind,
};
use logline_span::{Principal, RoleName, TenantId, Timestamp, reserved};
use serde::{Deserialize, Serialize};

use crate::{
    access::Refused,
    config::Tenants,
    issuer::{KID_BYTES_MAX, VerifyingKey},
};

/// Longest token: identity providers stay far below, and headers of requests are bounded too.
pub(crate) const BYTES_MAX: usize = 8 << 10;

/// By how much the issuer's clock and ours may differ, in seconds.
const LEEWAY_S: u64 = 30;

/// Most roles of one token.
const ROLES_MAX: usize = 64;

/// What a token says, as far as it matters here.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Claims {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) iss: Option<String>,
    pub(crate) sub: String,
    /// Identity providers that keep one tenant leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<String>,
    #[serde(default)]
    pub(crate) roles: Vec<String>,
    #[serde(default)]
    pub(crate) aud: serde_json::Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) iat: Option<u64>,
    /// Seconds; some providers write a fraction.
    pub(crate) exp: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) jti: Option<String>,
}

/// What a token stands for once its signature is verified.
pub(crate) struct Named {
    pub(crate) tenant: TenantId,
    pub(crate) principal: Principal,
    pub(crate) roles: BTreeSet<RoleName>,
    pub(crate) expires_at: Timestamp,
}

/// The `kid` of a token that may be looked at further. What else its header says about keys (`jku`, `jwk`, `x5u`) is ignored.
pub(crate) fn kid(text: &str) -> Result<(String, Algorithm), Refused> {
    let header: Header = decode_header(text).map_err(|error| match error.kind() {
        // An `alg` that the library has no name for, `none` above all.
        ErrorKind::Json(_) => Refused::Algorithm,
        _ => Refused::Malformed,
    })?;
    if !matches!(header.alg, Algorithm::EdDSA | Algorithm::RS256) {
        return Err(Refused::Algorithm);
    }
    if header.crit.is_some() || header.enc.is_some() || header.zip.is_some() {
        return Err(Refused::Extension);
    }
    match header.kid {
        Some(kid) if kid.len() <= KID_BYTES_MAX => Ok((kid, header.alg)),
        _ => Err(Refused::Signature),
    }
}

/// Verifies a token by one key; what it says is checked against what the key's issuer may say.
pub(crate) fn verify(
    text: &str,
    key: &VerifyingKey,
    issuer: Option<&str>,
    tenants: &Tenants,
    audience: &str,
) -> Result<Named, Refused> {
    let mut validation = Validation::new(key.algorithm);
    validation.leeway = LEEWAY_S;
    validation.validate_nbf = true;
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["aud", "exp", "sub"]);
    if let Some(issuer) = issuer {
        validation.set_issuer(&[issuer]);
        validation.set_required_spec_claims(&["aud", "exp", "sub", "iss"]);
    }
    let decoded = decode::<Claims>(text, &key.key, &validation);
    let claims = decoded.map_err(|error| refused(error.kind()))?.claims;
    let tenant = match &claims.tenant {
        Some(tenant) => tenant.parse().map_err(|_| Refused::Claims)?,
        None => tenants.only().cloned().ok_or(Refused::Claims)?,
    };
    let principal: Principal = claims.sub.parse().map_err(|_| Refused::Claims)?;
    if is_systems(&tenant, &principal) {
        return Err(Refused::System);
    }
    if !tenants.hold(&tenant) {
        return Err(Refused::Tenant);
    }
    if claims.roles.len() > ROLES_MAX {
        return Err(Refused::Claims);
    }
    Ok(Named {
        tenant,
        principal,
        // A provider's word that is no role of ours is nobody's.
        roles: claims
            .roles
            .iter()
            .filter_map(|it| it.parse().ok())
            .collect(),
        expires_at: instant(claims.exp),
    })
}

/// What no token can stand for.
pub(crate) fn is_systems(tenant: &TenantId, principal: &Principal) -> bool {
    principal.is_system() || tenant.as_str() == reserved::TENANT
}

fn refused(kind: &ErrorKind) -> Refused {
    match kind {
        ErrorKind::InvalidSignature => Refused::Signature,
        ErrorKind::InvalidAlgorithm | ErrorKind::MissingAlgorithm => Refused::Algorithm,
        ErrorKind::InvalidAudience => Refused::Audience,
        ErrorKind::InvalidIssuer => Refused::Issuer,
        ErrorKind::ExpiredSignature => Refused::Expired,
        ErrorKind::ImmatureSignature => Refused::NotYet,
        ErrorKind::MissingRequiredClaim(_)
        | ErrorKind::InvalidClaimFormat(_)
        | ErrorKind::InvalidSubject
        | ErrorKind::Json(_)
        | ErrorKind::Utf8(_) => Refused::Claims,
        _ => Refused::Malformed,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast of a float saturates: what ends beyond all time ends then"
)]
fn instant(seconds: f64) -> Timestamp {
    Timestamp::from_micros((seconds * 1e6) as i64)
}

/// What a token says of itself, unverified.
#[derive(Debug)]
pub struct Shown {
    /// The tenant that it names, where it does.
    pub tenant: Option<String>,
    /// The principal that it names.
    pub principal: String,
    /// The roles that it names.
    pub roles: Vec<String>,
    /// Who made it, where it says so.
    pub issuer: Option<String>,
    /// Which key signed it.
    pub kid: Option<String>,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// Reads a token without believing it.
///
/// # Errors
/// [`Refused::TooLong`] or [`Refused::Malformed`].
pub fn show(text: &str) -> Result<Shown, Refused> {
    if text.len() > BYTES_MAX {
        return Err(Refused::TooLong);
    }
    let token = insecure_decode::<Claims>(text).map_err(|_| Refused::Malformed)?;
    Ok(Shown {
        tenant: token.claims.tenant,
        principal: token.claims.sub,
        roles: token.claims.roles,
        issuer: token.claims.iss,
        kid: token.header.kid,
        expires_at: instant(token.claims.exp),
    })
}
