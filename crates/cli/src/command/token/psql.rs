//! `logline token psql`: a login in Postgres that is bound to one identity (LED-2).

use anyhow::{Context, Result, bail};
use logline_ledger::{ClientLogin, bind_login};
use logline_span::{Principal, Reader, TenantId};
use serde_json::json;

use crate::{
    Exit,
    args::{Global, Output},
    command::runtime,
    config, output,
};

/// Flags of `logline token psql`.
#[derive(Debug, clap::Args)]
pub(crate) struct Psql {
    /// The login's name in Postgres; one that is there already is bound anew, with a new password.
    login: String,
    /// The tenant of the person.
    #[arg(long)]
    tenant: TenantId,
    /// Whom the login reads and writes as.
    #[arg(long)]
    principal: Principal,
}

pub(super) fn run(global: &Global, command: &Psql) -> Result<Exit> {
    if command.principal.is_system() {
        bail!(
            "`{}` is a principal of the system, which no person is: name another with --principal",
            command.principal
        );
    }
    let settings = config::load_for_stack(global)?;
    let admin = &settings.ledger.admin_url;
    if admin.is_empty() {
        bail!(
            "`token psql` wants ledger.admin_url (or DATABASE_URL), the login of a superuser, or a running `logline dev`"
        );
    }
    let login = ClientLogin {
        name: command.login.clone(),
        password: hex::encode(rand::random::<[u8; 16]>()),
        reader: Reader {
            tenant: command.tenant.clone(),
            principal: command.principal.clone(),
        },
    };
    let url = runtime()?
        .block_on(bind_login(admin.expose(), &login))
        .context("cannot make the login")?;
    match output::form(global.output) {
        Output::Table => output::line(&format!("psql {url}"))?,
        Output::Json | Output::Ndjson => {
            let made = json!({
                "login": login.name, "tenant": login.reader.tenant.as_str(),
                "principal": login.reader.principal.as_str(), "url": url,
            });
            output::line(&made.to_string())?;
        }
    }
    Ok(Exit::Done)
}
