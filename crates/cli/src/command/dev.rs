//! `logline dev`: a private Postgres and bus as supervised children, every role and the API in this process (CLI-2).

mod example;
mod secrets;
mod servers;

use std::{future::Future, path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use logline_access::Grant;
use logline_bus::{Bus, access::Login};
use logline_span::{Principal, Reader, RoleName, TenantId};
use tokio_util::sync::CancellationToken;

use self::{secrets::Secrets, servers::Servers};
use crate::{
    Exit,
    args::{Global, Output},
    command::{self, migrate, restore, runtime, stop_signal},
    config::{self, Hidden, IssuerSettings, LogFormat, Roles, Settings, Token},
    output,
    parts::{self, Parts, Role, telemetry},
    stack::{self, Addresses},
};

/// Whose the stack's token is; neither needs percent-encoding.
const TENANT: &str = "dev";
const PRINCIPAL: &str = "me";
/// A new token is made at each start.
const TOKEN_TTL: Duration = Duration::from_secs(30 * 24 * 3600);
/// That person's login in Postgres.
const LOGIN: &str = "me";

/// Flags of `logline dev`.
#[derive(Debug, clap::Args)]
pub(crate) struct Dev {
    /// Port of the HTTP API; 0 takes any free one.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Port of the bus; 0 takes any free one.
    #[arg(long, default_value_t = 4222)]
    nats_port: u16,
    /// Port of Postgres; 0 takes any free one.
    #[arg(long, default_value_t = 15432)]
    pg_port: u16,
    /// Bring back what the ledger lost, from the bus, before anything starts.
    #[arg(long)]
    restore: bool,
    /// Publish a worked example and show its spans as they are sealed.
    #[arg(long)]
    example: bool,
}

pub(crate) fn run(global: &Global, command: &Dev) -> Result<Exit> {
    let directory = stack::directory(global.dir.as_deref())?;
    stack::make_private(&directory)?;
    let mut settings = config::load(global)?;
    settings.log.format = LogFormat::Text;
    if settings.log.filter.is_empty() {
        "warn".clone_into(&mut settings.log.filter);
    }
    let telemetry = telemetry(&settings)?;
    let runtime = runtime()?;
    let outcome = runtime.block_on(stay_up(global, command, &directory, settings));
    // The example may still wait for a span on a thread of its own.
    runtime.shutdown_background();
    drop(telemetry);
    outcome
}

async fn stay_up(
    global: &Global,
    command: &Dev,
    directory: &Path,
    mut settings: Settings,
) -> Result<Exit> {
    let stop = stop_signal()?;
    tokio::pin!(stop);
    let secrets = Secrets::of(directory)?;
    let servers = tokio::select! {
        servers = Servers::start(directory, command.nats_port, command.pg_port, &secrets) => servers?,
        () = &mut stop => return Ok(Exit::Done),
    };
    configure(&mut settings, command, &servers, &secrets)?;
    let signer_key = secrets::signer_key(directory)?;
    settings.signer.key_file = signer_key.to_string_lossy().into_owned();
    issue(&mut settings, directory)?;
    let shutdown = CancellationToken::new();
    let started = async {
        migrate::ledger(&settings).await?;
        for difference in migrate::streams(&settings).await? {
            tracing::warn!(difference, "a stream is not as this release wants it");
        }
        bind_login(&settings, &secrets).await?;
        if command.restore {
            let restored = restore::ledger(&settings, output::form(global.output)).await?;
            output::aside(&format!("logline: {restored} spans are back in the ledger"))?;
        }
        if let Some((told, committed)) = restore::lost(&settings).await? {
            bail!(
                "the bus tells of {told} sealed spans and the ledger holds {committed}: `logline dev --restore` brings the others back"
            );
        }
        Parts::start(&settings, &Role::DEVELOPMENT, shutdown.clone()).await
    };
    let parts = tokio::select! {
        parts = started => parts.map_err(|error| name_flag(error, command))?,
        () = &mut stop => return servers.stop().await.map(|()| Exit::Done),
    };
    let addresses = addresses(&parts, &servers, &secrets, token(&settings)?)?;
    stack::write_text(&directory.join(config::STACK_FILE), &settings.stack_file())?;
    stack::keep_addresses(directory, &addresses)?;
    let greeting = async {
        if command.example {
            let after = timeline_end(&settings).await?;
            let client = addresses.clone();
            // Programs read one line on standard output, and that is the addresses.
            let say = match output::form(global.output) {
                Output::Json | Output::Ndjson if global.output.is_some() => output::aside,
                Output::Json | Output::Ndjson | Output::Table => output::line,
            };
            tokio::task::spawn_blocking(move || example::show(&client, after, say))
                .await
                .context("the example crashed")??;
        }
        announce(global, command, &addresses)
    };
    let running = parts.run_until(async {
        tokio::select! {
            () = stop => {}
            () = servers.supervise() => {}
        }
    });
    let outcome = greet_and_run(greeting, running).await;
    shutdown.cancel();
    servers.stop().await?;
    outcome.map(|()| Exit::Done)
}

/// Runs the parts; a greeting that fails ends them, one that succeeds does not.
async fn greet_and_run(
    greeting: impl Future<Output = Result<()>>,
    running: impl Future<Output = Result<()>>,
) -> Result<()> {
    tokio::pin!(greeting, running);
    tokio::select! {
        ended = &mut running => ended,
        greeted = &mut greeting => {
            greeted?;
            running.await
        }
    }
}

/// The number of the newest message of the timeline.
async fn timeline_end(settings: &Settings) -> Result<u64> {
    let bus = Bus::connect(&parts::bus_config(settings, Login::Operator, "example")).await?;
    let last = bus.timeline_last().await?;
    bus.close().await;
    Ok(last)
}

/// The settings of a private stack: its own servers, secrets and token over whatever was configured.
fn configure(
    settings: &mut Settings,
    command: &Dev,
    servers: &Servers,
    secrets: &Secrets,
) -> Result<()> {
    settings.bus.url = servers.nats_url();
    let bus = &mut settings.bus;
    Login::Operator.name().clone_into(&mut bus.user);
    bus.password = Hidden::new(secrets.bus(Login::Operator));
    bus.projector_password = Hidden::new(secrets.bus(Login::Projector));
    bus.signer_password = Hidden::new(secrets.bus(Login::Signer));
    bus.observer_password = Hidden::new(secrets.bus(Login::Observer));
    bus.worker_password = Hidden::new(secrets.bus(Login::Worker));
    bus.api_password = Hidden::new(secrets.bus(Login::Api));
    bus.outbox_password = Hidden::new(secrets.bus(Login::Outbox));
    bus.development = false;
    let ledger = &mut settings.ledger;
    ledger.log_name.clone_from(&secrets.log_name);
    ledger.admin_url = Hidden::new(servers.postgres_admin_url());
    ledger.identity_key_hex = Hidden::new(&secrets.identity_key_hex);
    let url = |role: logline_ledger::Role, password: &str| {
        Hidden::new(servers.postgres_url(role.name(), password))
    };
    ledger.projector_url = url(logline_ledger::Role::Projector, &secrets.projector);
    ledger.reader_url = url(logline_ledger::Role::Reader, &secrets.reader);
    ledger.actor_url = url(logline_ledger::Role::Actor, &secrets.actor);
    ledger.signer_url = url(logline_ledger::Role::Signer, &secrets.signer);
    ledger.outbox_url = url(logline_ledger::Role::Outbox, &secrets.outbox);
    ledger.verifier_url = url(logline_ledger::Role::Verifier, &secrets.verifier);
    ledger.projector_password = Hidden::new(&secrets.projector);
    ledger.reader_password = Hidden::new(&secrets.reader);
    ledger.actor_password = Hidden::new(&secrets.actor);
    ledger.signer_password = Hidden::new(&secrets.signer);
    ledger.outbox_password = Hidden::new(&secrets.outbox);
    ledger.verifier_password = Hidden::new(&secrets.verifier);
    settings.keys.signing_key_hex = Hidden::new(&secrets.signing_key_hex);
    settings.keys.signing_key_file.clear();
    settings.api.listen = ([127, 0, 0, 1], command.port).into();
    settings.api.tokens.push(Token {
        digest: logline_span::Hash::of(secrets.token.as_bytes()).to_string(),
        tenant: TENANT.to_owned(),
        principal: PRINCIPAL.to_owned(),
        roles: vec!["admin".to_owned()],
    });
    Ok(())
}

/// The stack is its own issuer, and speaks for every tenant that its person tries.
fn issue(settings: &mut Settings, directory: &Path) -> Result<()> {
    let (file, public_key) = secrets::issuer_key(directory)?;
    settings.access.issuer_key_file = file.to_string_lossy().into_owned();
    settings.access.issuers.push(IssuerSettings {
        name: None,
        tenants: vec!["*".to_owned()],
        public_key: Some(public_key.to_string()),
        jwks_file: None,
        jwks_url: None,
    });
    // Whoever has the stack has its key: it says who is what.
    settings.access.roles = Roles::Issuer;
    let api = &mut settings.api;
    api.rate_per_second = 0;
    // All that uses a private stack comes from one address, most of it as one person.
    api.streams_per_reader_max = api.streams_max;
    api.connections_per_address_max = api.connections_max;
    Ok(())
}

/// The token that is shown.
fn token(settings: &Settings) -> Result<String> {
    let grant = Grant {
        tenant: TENANT.parse()?,
        principal: PRINCIPAL.parse()?,
        roles: [RoleName::ADMIN.parse()?].into(),
        ttl: TOKEN_TTL,
    };
    command::token::mint(settings, &grant)
}

async fn bind_login(settings: &Settings, secrets: &Secrets) -> Result<()> {
    let login = logline_ledger::ClientLogin {
        name: LOGIN.to_owned(),
        password: secrets.client.clone(),
        reader: Reader {
            tenant: TENANT.parse::<TenantId>()?,
            principal: PRINCIPAL.parse::<Principal>()?,
        },
    };
    logline_ledger::bind_login(settings.ledger.admin_url.expose(), &login)
        .await
        .context("cannot make the login of psql")?;
    Ok(())
}

/// A taken port is said with the flag that moves it.
fn name_flag(error: anyhow::Error, command: &Dev) -> anyhow::Error {
    let taken = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    if taken
        .into_iter()
        .any(|cause| cause.kind() == std::io::ErrorKind::AddrInUse)
    {
        let holder = logline_stack::port_holder(command.port)
            .unwrap_or_else(|| "another process".to_owned());
        return error.context(format!("port {} is taken by {holder}; --port moves the API elsewhere, --port 0 to any free port", command.port));
    }
    error
}

fn addresses(
    parts: &Parts,
    servers: &Servers,
    secrets: &Secrets,
    token: String,
) -> Result<Addresses> {
    let api = parts.api().context("the API does not listen")?;
    Ok(Addresses {
        api: format!("http://{api}"),
        nats: servers.nats_url(),
        nats_admin: servers.nats_admin_url(secrets),
        postgres: servers.postgres_url(LOGIN, &secrets.client),
        postgres_admin: servers.postgres_admin_url(),
        token,
        tenant: TENANT.to_owned(),
        principal: PRINCIPAL.to_owned(),
    })
}

fn announce(global: &Global, command: &Dev, addresses: &Addresses) -> Result<()> {
    match output::form(global.output) {
        Output::Json | Output::Ndjson if global.output.is_some() || !command.example => {
            output::line(&serde_json::to_string(addresses)?)
        }
        Output::Json | Output::Ndjson | Output::Table => output::line(&format!(
            "\nLogLine is up; Ctrl-C stops it, and its data stays.\n\n  \
             api             {}\n  nats            {}\n  nats_admin      {}\n  postgres        {}\n  postgres_admin  {}\n  token           {}\n  \
             tenant          {}\n  principal       {}\n\nTry: logline tail, logline query, logline doctor",
            addresses.api,
            addresses.nats,
            addresses.nats_admin,
            addresses.postgres,
            addresses.postgres_admin,
            addresses.token,
            addresses.tenant,
            addresses.principal
        )),
    }
}
