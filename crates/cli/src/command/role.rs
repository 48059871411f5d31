//! `logline role`, `logline key` and `logline tenant`: who is what in a tenant, as spans of its own (GOV-6, GOV-7).

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use logline_bus::{Answer, Bus, Outgoing, Receipt, Subject, access::Login};
use logline_span::{
    Encoding, EntityType, Limits, Principal, PublicKey, RoleName, SpanId, TenantId,
    check::{self, Fill},
};
use serde_json::{Value, json};

use crate::{
    Exit,
    args::{Global, Output},
    client::{Client, problem_text},
    command::{now, runtime},
    config, output, parts,
};

/// Who seeds what has to be there before anyone may give it.
const SEED: &str = "bootstrap:seed";

/// How long the first admin's span may take to be sealed.
const SEAL_MAX: Duration = Duration::from_secs(10);

/// Flags of `logline role`.
#[derive(Debug, clap::Args)]
pub(crate) struct RoleArgs {
    #[command(subcommand)]
    command: RoleCommand,
}

#[derive(Debug, clap::Subcommand)]
enum RoleCommand {
    /// Give somebody a role, as an admin of the tenant.
    Grant(Named),
    /// Take a role back, as an admin of the tenant.
    Revoke(Named),
    /// List who has which role, and since when.
    List(AsOf),
}

#[derive(Debug, clap::Args)]
struct Named {
    /// Whose role it is.
    principal: Principal,
    /// The role, such as `auditor`, or a word of the tenant's own.
    role: RoleName,
}

#[derive(Debug, clap::Args)]
struct AsOf {
    /// As it was at this RFC 3339 time.
    #[arg(long)]
    as_of: Option<String>,
}

/// Flags of `logline key`.
#[derive(Debug, clap::Args)]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, clap::Subcommand)]
enum KeyCommand {
    /// Bind a public key to a person, as an admin, or as that person with a key that is bound already.
    Add(Bind),
    /// End a key: what is received later counts as signed by nobody.
    Revoke(Bind),
    /// List whose each key is, and since when.
    List(AsOf),
}

#[derive(Debug, clap::Args)]
struct Bind {
    /// Whose key it is.
    principal: Principal,
    /// The public key, 64 hexadecimal digits.
    public_key: PublicKey,
    /// The device that keeps the private half.
    #[arg(long)]
    device: Option<String>,
    /// Sign with this private key, bound already to that person, in place of being an admin.
    #[arg(long, value_name = "FILE", requires = "tenant")]
    sign_with: Option<PathBuf>,
    /// The tenant, which a signature covers.
    #[arg(long)]
    tenant: Option<TenantId>,
}

/// Flags of `logline tenant`.
#[derive(Debug, clap::Args)]
pub(crate) struct TenantArgs {
    #[command(subcommand)]
    command: TenantCommand,
}

#[derive(Debug, clap::Subcommand)]
enum TenantCommand {
    /// Give a tenant its first admin, as the operator of the system.
    Create {
        /// The tenant.
        tenant: TenantId,
        /// Its first admin, who grants all other roles.
        #[arg(long)]
        admin: Principal,
    },
}

pub(crate) fn run(global: &Global, command: &RoleArgs) -> Result<Exit> {
    let (named, entity_type, did) = match &command.command {
        RoleCommand::Grant(named) => (named, "role_grant", "granted"),
        RoleCommand::Revoke(named) => (named, "role_revoke", "revoked"),
        RoleCommand::List(as_of) => return list(global, as_of, "roles"),
    };
    let act = Act {
        list: "roles",
        value: ("role", named.role.as_str().to_owned()),
        principal: &named.principal,
        gives: entity_type == "role_grant",
    };
    let span = json!({
        "entity_type": entity_type, "who": "logline role", "did": did, "this": named.principal.as_str(),
        "visibility": "tenant", "metadata": {"role": named.role.as_str()},
    });
    act.publish(global, &span.to_string())
}

pub(crate) fn run_key(global: &Global, command: &KeyArgs) -> Result<Exit> {
    let (bind, entity_type, did) = match &command.command {
        KeyCommand::Add(bind) => (bind, "key", "bound"),
        KeyCommand::Revoke(bind) => (bind, "key_revoke", "revoked"),
        KeyCommand::List(as_of) => return list(global, as_of, "keys"),
    };
    let public_key = bind.public_key.to_string();
    let act = Act {
        list: "keys",
        value: ("public_key", public_key.clone()),
        principal: &bind.principal,
        gives: entity_type == "key",
    };
    let mut metadata = json!({"public_key": public_key});
    if let (Some(device), Some(metadata)) = (&bind.device, metadata.as_object_mut()) {
        metadata.insert("device".to_owned(), device.as_str().into());
    }
    let span = json!({
        "entity_type": entity_type, "who": "logline key", "did": did, "this": bind.principal.as_str(),
        "visibility": "tenant", "metadata": metadata,
    });
    let span = match (&bind.sign_with, &bind.tenant) {
        (Some(file), Some(tenant)) => sign(&span, file, tenant, &bind.principal)?,
        _ => span.to_string(),
    };
    act.publish(global, &span)
}

pub(crate) fn run_tenant(global: &Global, command: &TenantArgs) -> Result<Exit> {
    let TenantCommand::Create { tenant, admin } = &command.command;
    if tenant.as_str() == logline_span::reserved::TENANT || admin.is_system() {
        bail!("tenant `system` and the principals `edge:…` and `bootstrap:…` are the system's");
    }
    let settings = config::load_for_stack(global)?;
    let seed: Principal = SEED.parse()?;
    let entity_type: EntityType = "role_grant".parse()?;
    let subject = Subject::ingest(tenant, &seed, &entity_type);
    let span = json!({
        "who": SEED, "did": "granted", "this": admin.as_str(), "visibility": "tenant",
        "metadata": {"role": RoleName::ADMIN},
        // Once in the life of a tenant, whoever asks again.
        "idempotency_key": "tenant:first-admin",
    });
    let receipt = runtime()?.block_on(async {
        let bus = Bus::connect(&parts::bus_config(&settings, Login::Operator, "tenant")).await?;
        let outgoing = Outgoing {
            body: span.to_string().into(),
            encoding: Encoding::Json,
            traceparent: None,
            receipt: None,
            depth: None,
        };
        let answer = bus.publish_sealed(&subject, outgoing, SEAL_MAX).await?;
        bus.close().await;
        anyhow::Ok(answer)
    })?;
    match receipt {
        Answer::Receipt(Receipt::Sealed {
            duplicate: true, ..
        }) => {
            output::report(&anyhow::anyhow!(
                "tenant `{tenant}` had its first admin before; that one grants further roles"
            ));
            Ok(Exit::No)
        }
        Answer::Receipt(Receipt::Sealed { .. }) => {
            match output::form(global.output) {
                Output::Table => {
                    output::line(&format!("{admin} is the first admin of {tenant}"))?;
                }
                Output::Json | Output::Ndjson => output::line(
                    &json!({"tenant": tenant.as_str(), "admin": admin.as_str()}).to_string(),
                )?,
            }
            Ok(Exit::Done)
        }
        Answer::Receipt(Receipt::Refused(refusal)) => bail!(refusal),
        Answer::Pending { .. } => bail!(
            "it was received and not sealed within {} s: is a projector running?",
            SEAL_MAX.as_secs()
        ),
    }
}

/// A role or key that is given or taken.
struct Act<'a> {
    list: &'static str,
    value: (&'static str, String),
    principal: &'a Principal,
    gives: bool,
}

impl Act<'_> {
    /// Publishes the span and says whether it had an effect: one by somebody who may not is a record of the attempt.
    fn publish(&self, global: &Global, span: &str) -> Result<Exit> {
        let client = Client::new(global)?;
        let body = span.as_bytes();
        let (status, text) = client.post("/api/spans", &[], "application/json", body)?;
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        match status {
            200 => {}
            202 => bail!("it was received and is not sealed yet; look with `list` later"),
            _ => bail!("{}", problem_text(status, &answer)),
        }
        let (name, value) = &self.value;
        let (status, standing) = client.get("/api/standing", &[])?;
        if status != 200 {
            bail!("{}", problem_text(status, &standing));
        }
        let held = standing.get(self.list).and_then(Value::as_array);
        let has = held.is_some_and(|held| {
            held.iter().any(|entry| {
                entry.get("principal").and_then(Value::as_str) == Some(self.principal.as_str())
                    && entry.get(*name).and_then(Value::as_str) == Some(value)
            })
        });
        if has != self.gives {
            output::report(&anyhow::anyhow!(
                "it was recorded and has no effect: you are no admin of the tenant{}",
                if self.list == "keys" {
                    ", and it is not signed with a key that is bound to its owner"
                } else {
                    ""
                }
            ));
            return Ok(Exit::No);
        }
        match output::form(global.output) {
            Output::Table => output::line(&format!(
                "{} {} {value}",
                self.principal,
                if self.gives { "has" } else { "no longer has" }
            ))?,
            Output::Json | Output::Ndjson => output::line(&text)?,
        }
        Ok(Exit::Done)
    }
}

fn sign(
    span: &Value,
    file: &std::path::Path,
    tenant: &TenantId,
    owner: &Principal,
) -> Result<String> {
    let key = parts::key_of_file(&file.to_string_lossy())?;
    let fill = Fill {
        id: SpanId::from_uuid(uuid::Uuid::now_v7()),
        at: now(),
        tenant,
        owner,
        entity_type: None,
        trace_id: None,
    };
    let text = span.to_string();
    let signed = check::sign(
        text.as_bytes(),
        Encoding::Json,
        &Limits::STANDARD,
        &fill,
        &key,
    );
    if !signed.is_success() {
        bail!("the span cannot be signed: {signed}");
    }
    Ok(signed.to_string())
}

fn list(global: &Global, as_of: &AsOf, which: &'static str) -> Result<Exit> {
    let query: Vec<_> = as_of
        .as_of
        .iter()
        .map(|as_of| ("as_of", as_of.clone()))
        .collect();
    let (status, mut standing) = Client::new(global)?.get("/api/standing", &query)?;
    if status != 200 {
        bail!("{}", problem_text(status, &standing));
    }
    let list = standing.get_mut(which).map(Value::take);
    let list = list.context("the API answered without the list")?;
    match output::form(global.output) {
        Output::Json => output::line(&list.to_string())?,
        Output::Ndjson => {
            for entry in list.as_array().into_iter().flatten() {
                output::line(&entry.to_string())?;
            }
        }
        Output::Table => {
            let (heading, value) = match which {
                "roles" => ("ROLE", "role"),
                _ => ("PUBLIC KEY", "public_key"),
            };
            output::line(&format!("{:<32}  {:<27}  {heading}", "WHO", "SINCE"))?;
            for entry in list.as_array().into_iter().flatten() {
                let text = |name: &str| {
                    output::printable(entry.get(name).and_then(Value::as_str).unwrap_or_default())
                };
                output::line(&format!(
                    "{:<32}  {:<27}  {} {}",
                    text("principal"),
                    text("since"),
                    text(value),
                    text("device")
                ))?;
            }
        }
    }
    Ok(Exit::Done)
}
