//! Servers as children: started, ended, frozen, orphaned.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod orphans;
mod servers;

use std::{path::Path, process::Command, sync::OnceLock};

use logline_stack::{Binaries, Error, Nats, NatsConfig, Postgres, PostgresConfig, SINGLE_NODE};

const PASSWORD: &str = "of-a-test";

fn binaries() -> &'static Binaries {
    static BINARIES: OnceLock<Binaries> = OnceLock::new();
    BINARIES.get_or_init(|| Binaries::locate().unwrap())
}

async fn postgres(dir: &Path, port: u16) -> Result<Postgres, Error> {
    let config = PostgresConfig {
        dir: dir.join("postgres"),
        port,
        superuser_password: PASSWORD.to_owned(),
        is_durable: true,
        settings: Vec::new(),
    };
    Postgres::start(binaries(), config).await
}

async fn nats(dir: &Path, port: u16) -> Result<Nats, Error> {
    let config = NatsConfig {
        dir: dir.join("nats"),
        port,
        name: "test".to_owned(),
        settings: SINGLE_NODE.into(),
    };
    Nats::start(binaries(), config).await
}

/// Runs a statement with the stock client.
fn ask(url: &str, statement: &str) -> Result<String, String> {
    let psql = logline_stack::stock_client("psql").unwrap();
    let output = Command::new(psql)
        .args(["--no-psqlrc", "-tAc", statement, url])
        .output()
        .unwrap();
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

/// Whether a process does anything yet. One that nobody has reaped does not.
fn is_running(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}
