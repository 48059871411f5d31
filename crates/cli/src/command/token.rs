//! `logline token`: bearer tokens and API keys (API-2).

mod psql;

use std::{io::Read, time::Duration};

use anyhow::{Context, Result, bail};
use logline_access::{ApiKey, Grant, Minter, Refused, Verifier};
use logline_ledger::{ApiKeyEntry, NewApiKey};
use logline_span::{Principal, Reader, RoleName, TenantId, Timestamp};
use serde_json::{Value, json};

use crate::{
    Exit,
    args::{Global, Output},
    command::runtime,
    config::{self, Settings},
    output, parts,
};

/// How long an API key lives where nothing else is said.
const API_KEY_TTL: Duration = Duration::from_secs(90 * 24 * 3600);
/// How long a token lives where nothing else is said.
const TOKEN_TTL: Duration = Duration::from_secs(3600);

/// Flags of `logline token`.
#[derive(Debug, clap::Args)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, clap::Subcommand)]
enum TokenCommand {
    /// Make a token that ends by itself, or an API key that can be revoked.
    Mint(Mint),
    /// End an API key at once.
    Revoke {
        /// The key's id, or the key itself.
        #[arg(value_name = "ID|KEY")]
        key: String,
    },
    /// List the API keys.
    List {
        /// Of this tenant alone.
        #[arg(long)]
        tenant: Option<TenantId>,
    },
    /// Say whom a token stands for, until when, and whether it is believed here.
    Show {
        /// The token; `-` reads it from standard input, so that no process list shows it.
        token: String,
    },
    /// Make a person's own login in Postgres, for psql and other SQL clients.
    Psql(psql::Psql),
}

#[derive(Debug, clap::Args)]
struct Mint {
    /// Whose tenant.
    #[arg(long)]
    tenant: TenantId,
    /// Whom it stands for.
    #[arg(long)]
    principal: Principal,
    /// A role that it may use, as far as its holder has it; once for each.
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<RoleName>,
    /// How long it lives, such as 90s, 15m, 1h or 30d; an hour, and 90 days for an API key.
    #[arg(long, value_parser = duration)]
    ttl: Option<Duration>,
    /// Make an API key, which the ledger knows and which can be revoked.
    #[arg(long, requires = "name")]
    api_key: bool,
    /// What the API key is for.
    #[arg(long, requires = "api_key")]
    name: Option<String>,
}

pub(crate) fn run(global: &Global, command: &TokenArgs) -> Result<Exit> {
    let settings = config::load_for_stack(global)?;
    match &command.command {
        TokenCommand::Mint(mint) => match &mint.name {
            Some(name) => mint_api_key(global, &settings, mint, name),
            None => mint_token(global, &settings, mint),
        },
        TokenCommand::Revoke { key } => revoke(global, &settings, key),
        TokenCommand::List { tenant } => list(global, &settings, tenant.as_ref()),
        TokenCommand::Show { token } => show(global, &settings, token),
        TokenCommand::Psql(command) => psql::run(global, command),
    }
}

/// A token for a grant, by the configured issuer's key.
pub(super) fn mint(settings: &Settings, grant: &Grant) -> Result<String> {
    let file = &settings.access.issuer_key_file;
    if file.is_empty() {
        bail!(
            "access.issuer_key_file is not set: `logline keygen FILE` makes a key, whose public half goes into access.issuers"
        );
    }
    let key = parts::key_of_file(file)?;
    let public_key = key.public_key().to_string();
    let is_believed = |it: &config::IssuerSettings| it.public_key.as_ref() == Some(&public_key);
    if !settings.access.issuers.iter().any(is_believed) {
        output::aside(&format!(
            "logline: access.issuers does not name this key; add {{ public_key = \"{public_key}\", tenants = [\"{}\"] }} where the API runs",
            grant.tenant
        ))?;
    }
    let minter = Minter::new(key, &settings.access.audience);
    Ok(minter.mint(grant, super::now())?)
}

fn mint_token(global: &Global, settings: &Settings, command: &Mint) -> Result<Exit> {
    let ttl = command.ttl.unwrap_or(TOKEN_TTL);
    let grant = Grant {
        tenant: command.tenant.clone(),
        principal: command.principal.clone(),
        roles: command.roles.iter().cloned().collect(),
        ttl,
    };
    let token = mint(settings, &grant)?;
    let expires_at = super::now().saturating_add(ttl);
    say(
        global,
        &token,
        &json!({"token": token, "expires_at": expires_at.to_string()}),
    )
}

fn mint_api_key(global: &Global, settings: &Settings, command: &Mint, name: &str) -> Result<Exit> {
    let key = ApiKey::generate();
    let ttl = command.ttl.unwrap_or(API_KEY_TTL);
    if command.principal.is_system() || command.tenant.as_str() == logline_span::reserved::TENANT {
        bail!(logline_access::MintError::System);
    }
    let entry = NewApiKey {
        id: key.id(),
        name: name.to_owned(),
        digest: key.digest(),
        reader: Reader {
            tenant: command.tenant.clone(),
            principal: command.principal.clone(),
        },
        roles: command.roles.iter().cloned().collect(),
        ttl: Some(ttl),
    };
    let entering = logline_ledger::enter_api_key(admin_url(settings)?, &entry);
    runtime()?
        .block_on(entering)
        .context("the API key was not entered")?;
    let expires_at = super::now().saturating_add(ttl);
    let text = key.expose();
    say(
        global,
        &text,
        &json!({"token": text, "id": key.id(), "expires_at": expires_at.to_string()}),
    )
}

fn revoke(global: &Global, settings: &Settings, text: &str) -> Result<Exit> {
    let id = match text.parse::<ApiKey>() {
        Ok(key) => key.id(),
        Err(_) if logline_access::show(text).is_ok() => bail!(
            "that is no API key: it ends by itself, and before that only with its issuer's key (take it out of access.issuers)"
        ),
        Err(_) => text.to_owned(),
    };
    let revoking = logline_ledger::revoke_api_key(admin_url(settings)?, &id);
    if runtime()?.block_on(revoking)? {
        say(global, &format!("revoked {id}"), &json!({"revoked": id}))
    } else {
        output::report(&anyhow::anyhow!(
            "there is no API key `{}` that is not revoked already; see `logline token list`",
            output::printable(&id)
        ));
        Ok(Exit::No)
    }
}

fn list(global: &Global, settings: &Settings, tenant: Option<&TenantId>) -> Result<Exit> {
    let listing = logline_ledger::api_keys(admin_url(settings)?, tenant);
    let keys = runtime()?.block_on(listing)?;
    match output::form(global.output) {
        Output::Table => {
            output::line(&format!(
                "{:<16}  {:<32}  {:<9}  {:<27}  NAME",
                "ID", "WHO", "STATE", "UNTIL"
            ))?;
            for key in &keys {
                let who = output::printable(&format!("{}/{}", key.tenant, key.principal));
                let until = key.expires_at.map(|it| it.to_string()).unwrap_or_default();
                let name = output::printable(&key.name);
                output::line(&format!(
                    "{:<16}  {who:<32}  {:<9}  {until:<27}  {name}",
                    key.id,
                    state(key)
                ))?;
            }
        }
        Output::Json => {
            let keys: Vec<Value> = keys.iter().map(entry).collect();
            output::line(&Value::Array(keys).to_string())?;
        }
        Output::Ndjson => {
            for key in &keys {
                output::line(&entry(key).to_string())?;
            }
        }
    }
    Ok(Exit::Done)
}

fn state(key: &ApiKeyEntry) -> &'static str {
    if key.revoked_at.is_some() {
        "revoked"
    } else if key.expires_at.is_some_and(|at| at <= super::now()) {
        "expired"
    } else {
        "valid"
    }
}

fn entry(key: &ApiKeyEntry) -> Value {
    let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
    json!({
        "id": key.id, "name": key.name, "tenant": key.tenant, "principal": key.principal, "roles": key.roles,
        "state": state(key), "made_at": text(key.made_at), "expires_at": text(key.expires_at), "revoked_at": text(key.revoked_at),
    })
}

fn show(global: &Global, settings: &Settings, token: &str) -> Result<Exit> {
    let mut read = String::new();
    let token = if token == "-" {
        std::io::stdin().read_to_string(&mut read)?;
        read.trim()
    } else {
        token
    };
    let verifying = async {
        let verifier: Verifier = parts::verifier(settings)?;
        anyhow::Ok(match verifier.verify(token).await {
            Ok(access) => verifier.roles(&access).await.map(|roles| (access, roles)),
            Err(refused) => Err(refused),
        })
    };
    let verdict = runtime()?.block_on(verifying)?;
    let mut shown = match (&verdict, logline_access::show(token)) {
        (Ok((access, roles)), _) => json!({
            "tenant": access.tenant.as_str(), "principal": access.principal.as_str(),
            "roles": roles.iter().map(RoleName::as_str).collect::<Vec<_>>(),
            "expires_at": access.expires_at.map(|at| at.to_string()),
        }),
        // What it says of itself, believed by nobody.
        (Err(_), Ok(shown)) => json!({
            "tenant": shown.tenant, "principal": shown.principal, "roles": shown.roles,
            "expires_at": shown.expires_at.to_string(), "issuer": shown.issuer, "kid": shown.kid,
        }),
        (Err(_), Err(_)) => json!({}),
    };
    if let Err(Refused::Ledger(error)) = verdict {
        return Err(error).context("the ledger, which knows the key or the roles, cannot be asked");
    }
    if let Some(object) = shown.as_object_mut() {
        object.insert("valid".to_owned(), verdict.is_ok().into());
        if let Err(refused) = &verdict {
            object.insert("reason".to_owned(), refused.to_string().into());
        }
    }
    match output::form(global.output) {
        Output::Json | Output::Ndjson => output::line(&shown.to_string())?,
        Output::Table => output::line(output::fields(&shown).trim_end())?,
    }
    Ok(if verdict.is_ok() {
        Exit::Done
    } else {
        Exit::No
    })
}

fn admin_url(settings: &Settings) -> Result<&str> {
    let url = &settings.ledger.admin_url;
    if url.is_empty() {
        bail!(
            "ledger.admin_url is not set: API keys are entered and revoked as the schema's owner"
        );
    }
    Ok(url.expose())
}

fn say(global: &Global, text: &str, json: &Value) -> Result<Exit> {
    match output::form(global.output) {
        Output::Table => output::line(text)?,
        Output::Json | Output::Ndjson => output::line(&json.to_string())?,
    }
    Ok(Exit::Done)
}

/// A number and a unit: s, m, h or d.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "must be a whole number and s, m, h or d, such as 15m".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        _ => return Err(wrong()),
    };
    let number: u64 = text
        .strip_suffix(unit)
        .and_then(|number| number.parse().ok())
        .ok_or_else(wrong)?;
    let seconds = number.checked_mul(seconds).ok_or_else(wrong)?;
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        let read = |text: &str| duration(text).map(|it| it.as_secs());
        assert_eq!(read("90s"), Ok(90));
        assert_eq!(read("15m"), Ok(900));
        assert_eq!(read("30d"), Ok(30 * 86_400));
        for wrong in [
            "",
            "h",
            "1",
            "1.5h",
            "-1h",
            "1 h",
            "1é",
            "99999999999999999999d",
            "213503982334602d",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
