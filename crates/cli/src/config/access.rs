//! Settings of who may do what.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use logline_access::{FixedKey, Issuer, RoleTrust, Source, Tenants};
use serde::Deserialize;

use super::{Settings, Token};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Access {
    pub(crate) audience: String,
    pub(crate) roles: Roles,
    pub(crate) issuers: Vec<IssuerSettings>,
    pub(crate) issuer_key_file: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Roles {
    Ledger,
    Issuer,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IssuerSettings {
    /// What `iss` must be.
    pub(crate) name: Option<String>,
    pub(crate) tenants: Vec<String>,
    pub(crate) public_key: Option<String>,
    pub(crate) jwks_file: Option<PathBuf>,
    pub(crate) jwks_url: Option<String>,
}

impl Access {
    /// The same as a section of the file that `logline dev` leaves.
    pub(super) fn section(&self) -> toml::Table {
        let issuers = self.issuers.iter().map(|issuer| {
            let tenants = issuer.tenants.iter().cloned().map(toml::Value::String);
            let mut table = toml::Table::from_iter([(
                "tenants".to_owned(),
                toml::Value::Array(tenants.collect()),
            )]);
            let file = issuer.jwks_file.as_ref();
            let texts = [
                ("name", issuer.name.clone()),
                ("public_key", issuer.public_key.clone()),
                (
                    "jwks_file",
                    file.map(|it| it.to_string_lossy().into_owned()),
                ),
                ("jwks_url", issuer.jwks_url.clone()),
            ];
            for (key, text) in texts {
                table.extend(text.map(|text| (key.to_owned(), text.into())));
            }
            toml::Value::Table(table)
        });
        let roles = match self.roles {
            Roles::Ledger => "ledger",
            Roles::Issuer => "issuer",
        };
        toml::Table::from_iter([
            ("audience".to_owned(), self.audience.clone().into()),
            ("roles".to_owned(), roles.into()),
            ("issuers".to_owned(), toml::Value::Array(issuers.collect())),
            (
                "issuer_key_file".to_owned(),
                self.issuer_key_file.clone().into(),
            ),
        ])
    }
}

impl Settings {
    /// Whose tokens are believed.
    pub(crate) fn access(&self) -> Result<logline_access::Config> {
        let issuers = self.access.issuers.iter().map(issuer);
        let fixed_keys = self.api.tokens.iter().map(fixed_key);
        Ok(logline_access::Config {
            audience: self.access.audience.clone(),
            issuers: issuers
                .collect::<Result<_>>()
                .context("access.issuers does not hold")?,
            fixed_keys: fixed_keys
                .collect::<Result<_>>()
                .context("api.tokens does not hold")?,
            role_trust: match self.access.roles {
                Roles::Ledger => RoleTrust::Ledger,
                Roles::Issuer => RoleTrust::Issuer,
            },
        })
    }
}

fn issuer(issuer: &IssuerSettings) -> Result<Issuer> {
    let source = match (&issuer.public_key, &issuer.jwks_file, &issuer.jwks_url) {
        (Some(key), None, None) => Source::Key(
            key.parse()
                .context("a public key is 64 hexadecimal digits")?,
        ),
        (None, Some(file), None) => Source::File(file.clone()),
        (None, None, Some(url)) => Source::Url(url.clone()),
        _ => bail!("an issuer has one of public_key, jwks_file and jwks_url"),
    };
    let tenants = match issuer.tenants.as_slice() {
        [every] if every == "*" => Tenants::Every,
        listed => {
            let tenants = listed.iter().map(|tenant| Ok(tenant.parse()?));
            Tenants::Listed(tenants.collect::<Result<_>>()?)
        }
    };
    Ok(Issuer {
        name: issuer.name.clone(),
        tenants,
        source,
    })
}

fn fixed_key(token: &Token) -> Result<FixedKey> {
    Ok(FixedKey {
        digest: token
            .digest
            .parse()
            .context("a digest is `blake3:` and 64 hexadecimal digits")?,
        tenant: token.tenant.parse()?,
        principal: token.principal.parse()?,
        roles: token
            .roles
            .iter()
            .map(|role| Ok(role.parse()?))
            .collect::<Result<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "1515151515151515151515151515151515151515151515151515151515151515";

    fn read(issuers: &str) -> Access {
        let text = format!(
            "audience = 'logline'\nroles = 'issuer'\nissuer_key_file = 'a'\nissuers = [{issuers}]"
        );
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn an_issuer_has_one_source_of_keys_and_tenants_that_can_be() {
        let holds = |issuers: &str| read(issuers).issuers.iter().all(|it| issuer(it).is_ok());
        let key = format!("public_key = '{KEY}'");
        assert!(holds(&format!("{{ tenants = ['acme'], {key} }}")));
        assert!(holds(
            "{ tenants = ['acme', 'globex'], jwks_url = 'https://idp.example/jwks' }"
        ));
        assert!(holds(
            "{ tenants = ['*'], name = 'idp', jwks_file = 'jwks.json' }"
        ));
        for wrong in [
            "{ tenants = ['acme'] }",
            &format!("{{ tenants = ['acme'], jwks_file = 'jwks.json', {key} }}"),
            &format!("{{ tenants = ['*', 'acme'], {key} }}"),
            &format!("{{ tenants = ['Acme'], {key} }}"),
            "{ tenants = ['acme'], public_key = '15' }",
        ] {
            assert!(!holds(wrong), "{wrong}");
        }
    }

    #[test]
    fn the_section_that_a_stack_leaves_reads_as_it_was() {
        let given = read(&format!(
            "{{ tenants = ['*'], public_key = '{KEY}' }}, {{ tenants = ['a'], name = 'n', jwks_url = 'u' }}, {{ tenants = ['b'], jwks_file = 'f' }}"
        ));
        let left: Access = given.section().try_into().unwrap();
        assert_eq!(format!("{left:?}"), format!("{given:?}"));
    }
}
