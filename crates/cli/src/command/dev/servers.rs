//! The two child processes of a stack, kept up for as long as it lives.

use std::path::Path;

use anyhow::{Context, Result};
use logline_bus::access::{self, Clients, Login};
use logline_stack::{Binaries, Nats, NatsConfig, Postgres, PostgresConfig, SINGLE_NODE};

use super::secrets::Secrets;
use crate::parts::pause;

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
            settings: format!("{SINGLE_NODE}\n{}", bus_accounts(secrets)).into(),
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

    /// The operator's door to the bus; a password is hexadecimal digits, which no URL has to escape.
    pub(super) fn nats_admin_url(&self, secrets: &Secrets) -> String {
        let (user, password) = (Login::Operator.name(), secrets.bus(Login::Operator));
        format!("nats://{user}:{password}@127.0.0.1:{}", self.nats.port())
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

/// The parts log in, each with what it needs; anyone on this machine may do all but speak for the system (BUS-7).
fn bus_accounts(secrets: &Secrets) -> String {
    access::accounts(
        |login| format!("\"{}\"", secrets.bus(login)),
        &Clients::Open,
    )
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
