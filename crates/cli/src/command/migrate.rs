//! `logline migrate`: the database's schema and roles, and the streams of the bus (BUS-11).

use anyhow::{Context, Result, bail};
use logline_bus::{Bus, access::Login};
use logline_ledger::{Provision, Role, RolePassword};
use serde_json::json;

use crate::{
    Exit,
    args::{Global, Output},
    command::runtime,
    config::{self, Settings},
    output, parts,
};

/// Flags of `logline migrate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Migrate {}

pub(crate) fn run(global: &Global, _command: &Migrate) -> Result<Exit> {
    let settings = config::load(global)?;
    let form = output::form(global.output);
    runtime()?.block_on(async {
        let applied = ledger(&settings).await?;
        let differences = streams(&settings).await?;
        match form {
            Output::Json | Output::Ndjson => {
                output::line(&json!({"applied": applied, "differences": differences}).to_string())?;
            }
            Output::Table => {
                output::line(&format!("database: {} migrations applied", applied.len()))?;
                output::line(&format!(
                    "bus: {} settings differ from what this release wants",
                    differences.len()
                ))?;
                differences
                    .iter()
                    .try_for_each(|difference| output::line(&format!("  {difference}")))?;
            }
        }
        Ok(if differences.is_empty() {
            Exit::Done
        } else {
            Exit::No
        })
    })
}

/// Makes the streams that are missing; says where the others differ from what this release wants.
pub(crate) async fn streams(settings: &Settings) -> Result<Vec<String>> {
    let bus = Bus::connect(&parts::bus_config(settings, Login::Operator, "migrate")).await?;
    let differences = bus.migrate().await.context("cannot create the streams")?;
    bus.close().await;
    Ok(differences.iter().map(ToString::to_string).collect())
}

/// Brings the database forward; the versions that were applied.
pub(crate) async fn ledger(settings: &Settings) -> Result<Vec<i64>> {
    let ledger = &settings.ledger;
    if ledger.admin_url.is_empty() || ledger.log_name.is_empty() {
        bail!(
            "`migrate` wants ledger.admin_url (or DATABASE_URL) and ledger.log_name, the name of the log for ever"
        );
    }
    let passwords = [
        (Role::Projector, &ledger.projector_password),
        (Role::Reader, &ledger.reader_password),
        (Role::Actor, &ledger.actor_password),
        (Role::Signer, &ledger.signer_password),
        (Role::Outbox, &ledger.outbox_password),
        (Role::Verifier, &ledger.verifier_password),
    ];
    let provision = Provision {
        log_name: ledger.log_name.clone(),
        identity_key: parts::identity_key(settings)?,
        passwords: passwords
            .into_iter()
            .filter(|(_, password)| !password.is_empty())
            .map(|(role, password)| RolePassword {
                role,
                password: password.expose().to_owned(),
            })
            .collect(),
    };
    let migrated = logline_ledger::migrate(ledger.admin_url.expose(), &provision)
        .await
        .context("cannot migrate the database")?;
    Ok(migrated.applied)
}
