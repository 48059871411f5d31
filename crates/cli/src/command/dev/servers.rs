//! The two child processes of a stack, kept up for as long as it lives.

use std::path::Path;

use anyhow::{Context, Result};
use logline_bus::subject::{signed_addresses, signer_addresses, system_addresses};
use logline_stack::{Binaries, Nats, NatsConfig, Postgres, PostgresConfig, SINGLE_NODE};

use super::secrets::Secrets;
use crate::parts::pause;

/// The login of the system's own parts on the bus.
pub(super) const BUS_USER: &str = "logline";
/// The signer's own, which may do what it needs and no more.
pub(super) const SIGNER_BUS_USER: &str = "signer";

/// A private Postgres and nats-server.
pub(super) struct Servers {
    postgres: Postgres,
    nats: Nats,
}

impl Servers {
    /// Starts both side by side.
    pub(super) async fn start(
        directory: &Path,
        nats_port: u16,
        pg_port: u16,
        secrets: &Secrets,
    ) -> Result<Self> {
        let binaries = Binaries::locate()?;
        let postgres = PostgresConfig {
            dir: directory.join("postgres"),
            port: pg_port,
            superuser_password: secrets.superuser.clone(),
            is_durable: true,
            settings: Vec::new(),
        };
        let nats = NatsConfig {
            dir: directory.join("nats"),
            port: nats_port,
            name: secrets.log_name.clone(),
            settings: format!("{SINGLE_NODE}{}", authorization(secrets)?).into(),
        };
        let (postgres, nats) = tokio::join!(
            Postgres::start(&binaries, postgres),
            Nats::start(&binaries, nats)
        );
        Ok(Self {
            postgres: postgres.map_err(|error| name_flag(error, "--pg-port"))?,
            nats: nats.map_err(|error| name_flag(error, "--nats-port"))?,
        })
    }

    pub(super) fn nats_url(&self) -> String {
        self.nats.url()
    }

    pub(super) fn postgres_admin_url(&self) -> String {
        self.postgres.superuser_url()
    }

    pub(super) fn postgres_url(&self, role: &str, password: &str) -> String {
        self.postgres.url(role, password, "postgres")
    }

    /// Starts each again when it dies; never ends.
    pub(super) async fn supervise(&self) {
        let postgres = async {
            let mut failures = 0_u32;
            loop {
                let status = self.postgres.wait_exit().await;
                failures += 1;
                tracing::warn!(?status, "Postgres ended; starting it again");
                pause(failures).await;
                if let Err(error) = self.postgres.restart().await {
                    tracing::error!(error = %format!("{:#}", anyhow::Error::new(error)), "Postgres does not start");
                }
            }
        };
        let nats = async {
            let mut failures = 0_u32;
            loop {
                let status = self.nats.wait_exit().await;
                failures += 1;
                tracing::warn!(?status, "nats-server ended; starting it again");
                pause(failures).await;
                if let Err(error) = self.nats.restart().await {
                    tracing::error!(error = %format!("{:#}", anyhow::Error::new(error)), "nats-server does not start");
                }
            }
        };
        tokio::join!(postgres, nats);
    }

    /// Stops both in order.
    pub(super) async fn stop(&self) -> Result<()> {
        let (nats, postgres) = tokio::join!(self.nats.stop(), self.postgres.stop());
        nats.context("nats-server did not stop in order")?;
        postgres.context("Postgres did not stop in order")
    }
}

/// Who may publish what (BUS-7): the parts log in, the signer by itself; anyone on this machine may do all but speak for the system.
fn authorization(secrets: &Secrets) -> Result<String> {
    let denied = serde_json::to_string(&system_addresses())?;
    let signed = serde_json::to_string(&signed_addresses())?;
    let signer = serde_json::to_string(&signer_addresses())?;
    let Secrets {
        bus: password,
        signer_bus,
        ..
    } = secrets;
    Ok(format!(
        "\nauthorization {{\n  users: [\n    \
         {{ user: \"{BUS_USER}\", password: \"{password}\", permissions: {{ publish: {{ deny: {signed} }} }} }}\n    \
         {{ user: \"{SIGNER_BUS_USER}\", password: \"{signer_bus}\", \
         permissions: {{ publish: {{ allow: {signer} }}, subscribe: {{ allow: [\"_INBOX.>\"] }} }} }}\n    \
         {{ user: \"local\", password: \"{password}-local\", permissions: {{ publish: {{ deny: {denied} }} }} }}\n  ]\n}}\n\
         no_auth_user: \"local\"\n"
    ))
}

fn name_flag(error: logline_stack::Error, flag: &str) -> anyhow::Error {
    match error {
        logline_stack::Error::PortTaken { .. } => {
            anyhow::anyhow!("{error}; {flag} moves ours elsewhere, {flag} 0 to any free port")
        }
        logline_stack::Error::DirectoryInUse { .. } => {
            anyhow::anyhow!("{error}; stop that one first, or start another stack with --dir")
        }
        error => error.into(),
    }
}
