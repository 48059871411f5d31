//! Asks whom a token stands for.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use logline_ledger::Reader;
use logline_span::{Hash, RoleName};

use crate::{
    access::{Access, Refused},
    algorithm,
    api_key::ApiKey,
    config::{Config, ConfigError, FixedKey, RoleTrust},
    issuer::KnownIssuer,
    token::{self, Named},
};

/// Whom tokens stand for. Clones share what is known of the issuers.
#[derive(Clone)]
pub struct Verifier {
    known: Arc<Known>,
}

struct Known {
    audience: String,
    issuers: Vec<KnownIssuer>,
    fixed_keys: HashMap<Hash, Access>,
    role_trust: RoleTrust,
    ledger: Reader,
}

impl Verifier {
    /// Believes whom the configuration names, and the API keys that the ledger has.
    ///
    /// # Errors
    /// What may not be configured, or a file of keys that cannot be read.
    pub fn new(config: Config, ledger: Reader) -> Result<Self, ConfigError> {
        algorithm::install();
        let Config {
            audience,
            issuers,
            fixed_keys,
            role_trust,
        } = config;
        if audience.is_empty() {
            return Err(ConfigError::NoAudience);
        }
        let fixed_keys = fixed_keys.into_iter().map(|fixed| {
            let FixedKey {
                digest,
                tenant,
                principal,
                roles,
            } = fixed;
            if token::is_systems(&tenant, &principal) {
                return Err(ConfigError::SystemToken { tenant, principal });
            }
            let access = Access {
                tenant,
                principal,
                named_roles: roles,
                role_trust: RoleTrust::Issuer,
                expires_at: None,
            };
            Ok((digest, access))
        });
        let issuers = issuers.into_iter().map(KnownIssuer::new);
        Ok(Self {
            known: Arc::new(Known {
                audience,
                fixed_keys: fixed_keys.collect::<Result<_, _>>()?,
                issuers: issuers.collect::<Result<_, _>>()?,
                role_trust,
                ledger,
            }),
        })
    }

    /// Whom the token stands for.
    ///
    /// # Errors
    /// Why it is not believed; [`Refused::Ledger`] where that could not be found out.
    pub async fn verify(&self, text: &str) -> Result<Access, Refused> {
        if text.len() > token::BYTES_MAX {
            return Err(Refused::TooLong);
        }
        // Digests alone are compared, so that the time taken says nothing about a token.
        if let Some(access) = self.known.fixed_keys.get(&Hash::of(text.as_bytes())) {
            return Ok(access.clone());
        }
        if ApiKey::is_meant(text) {
            return self.api_key(&text.parse()?).await;
        }
        let Named {
            tenant,
            principal,
            roles,
            expires_at,
        } = self.signed(text).await?;
        Ok(Access {
            tenant,
            principal,
            named_roles: roles,
            role_trust: self.known.role_trust,
            expires_at: Some(expires_at),
        })
    }

    /// The roles that a token's holder may use: those that it names, as far as the ledger grants them or the issuer is trusted (GOV-6).
    /// Asked apart from [`Verifier::verify`], which for a signed token needs no ledger, so that publishing goes on without one (API-4).
    ///
    /// # Errors
    /// [`Refused::Ledger`] while the ledger is away.
    pub async fn roles(&self, access: &Access) -> Result<BTreeSet<RoleName>, Refused> {
        let named = &access.named_roles;
        if named.is_empty() || access.role_trust == RoleTrust::Issuer {
            return Ok(named.clone());
        }
        let held = self.known.ledger.roles(&access.tenant, &access.principal);
        let held = held.await.map_err(Refused::Ledger)?;
        Ok(named.intersection(&held).cloned().collect())
    }

    async fn api_key(&self, key: &ApiKey) -> Result<Access, Refused> {
        let found = self.known.ledger.api_key(&key.digest()).await;
        let holder = found.map_err(Refused::Ledger)?.ok_or(Refused::UnknownKey)?;
        Ok(Access {
            tenant: holder.reader.tenant,
            principal: holder.reader.principal,
            named_roles: holder.roles,
            role_trust: RoleTrust::Ledger,
            expires_at: holder.expires_at,
        })
    }

    /// By the key that its `kid` names. Two issuers may use one `kid`: a token is its signer's, whoever else has that name.
    async fn signed(&self, text: &str) -> Result<Named, Refused> {
        let (kid, algorithm) = token::kid(text)?;
        let mut refused = Refused::Signature;
        for again in [false, true] {
            let mut is_known = false;
            for issuer in &self.known.issuers {
                let key = if again {
                    issuer.find_again(&kid).await
                } else {
                    issuer.find(&kid).await
                };
                let Some(key) = key else { continue };
                is_known = true;
                if key.algorithm != algorithm {
                    refused = Refused::Algorithm;
                    continue;
                }
                let (name, tenants) = (issuer.name.as_deref(), &issuer.tenants);
                match token::verify(text, &key, name, tenants, &self.known.audience) {
                    Ok(named) => return Ok(named),
                    Err(Refused::Signature) => {}
                    // The signature is this issuer's, and what it says is not to be believed.
                    Err(other) => return Err(other),
                }
            }
            if is_known {
                break;
            }
        }
        Err(refused)
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier")
            .field("issuers", &self.known.issuers.len())
            .finish_non_exhaustive()
    }
}
