//! `logline serve`: roles against given servers.

use anyhow::Result;
use tokio_util::sync::CancellationToken;

use crate::{
    Exit,
    args::Global,
    command::{runtime, stop_signal},
    config,
    parts::{Parts, Role, telemetry},
};

/// Flags of `logline serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// The roles of this process.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Role::Projector, Role::Observer, Role::Worker, Role::Api])]
    roles: Vec<Role>,
}

pub(crate) fn run(global: &Global, command: &Serve) -> Result<Exit> {
    let settings = config::load(global)?;
    let telemetry = telemetry(&settings)?;
    let outcome = runtime()?.block_on(async {
        let shutdown = CancellationToken::new();
        let stop = stop_signal()?;
        tokio::pin!(stop);
        let parts = tokio::select! {
            parts = Parts::start(&settings, &command.roles, shutdown.clone()) => parts?,
            () = &mut stop => return Ok(Exit::Done),
        };
        if let Some(api) = parts.api() {
            tracing::info!(%api, "ready");
        } else {
            tracing::info!("ready");
        }
        parts.run_until(stop).await?;
        Ok(Exit::Done)
    });
    drop(telemetry);
    outcome
}
