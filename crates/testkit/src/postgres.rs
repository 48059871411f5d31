use std::{
    ops::Deref,
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, ensure};
use logline_stack::PostgresConfig;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::{binaries, expected, place, psql};

/// Parallel tests with a few pools each.
const CONNECTIONS_MAX: u32 = 400;

/// A PostgreSQL cluster of one test, with the settings of `logline dev`; it can be stopped, killed, paused and restarted.
#[derive(Debug)]
pub struct Postgres {
    server: logline_stack::Postgres,
    _dir: TempDir,
}

impl Postgres {
    /// The cluster that all tests of this process share, a database each.
    ///
    /// Roles belong to the cluster, not to the database: tests that change one see each other.
    pub fn shared() -> &'static SharedPostgres {
        static SHARED: SharedPostgres = SharedPostgres {
            server: OnceCell::const_new(),
        };
        &SHARED
    }

    /// A cluster of one's own, as durable as the real one.
    pub async fn private() -> Postgres {
        Postgres::start(true, Vec::new()).await
    }

    async fn start(is_durable: bool, settings: Vec<(String, String)>) -> Postgres {
        let dir = place::fresh();
        let config = PostgresConfig {
            dir: dir.path().to_path_buf(),
            port: 0,
            superuser_password: hex(rand::random()),
            is_durable,
            settings,
        };
        Postgres {
            server: expected(logline_stack::Postgres::start(binaries(), config).await),
            _dir: dir,
        }
    }
}

impl Deref for Postgres {
    type Target = logline_stack::Postgres;

    fn deref(&self) -> &logline_stack::Postgres {
        &self.server
    }
}

/// One cluster per test process, started by the first test that wants a database.
#[derive(Debug)]
pub struct SharedPostgres {
    server: OnceCell<Postgres>,
}

impl SharedPostgres {
    /// An empty database of one test.
    pub async fn database(&'static self) -> Database {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let database = Database {
            server: self.server().await,
            name,
        };
        let statement = format!("create database {} template template0", database.name);
        database.administer(&statement).await;
        database
    }

    async fn server(&'static self) -> &'static Postgres {
        let settings = vec![("max_connections".to_owned(), CONNECTIONS_MAX.to_string())];
        self.server
            .get_or_init(|| Postgres::start(false, settings))
            .await
    }
}

/// A database of the shared cluster. Dropping it drops the database, whoever is connected.
#[derive(Debug)]
pub struct Database {
    server: &'static Postgres,
    name: String,
}

impl Database {
    /// The superuser's URL.
    pub fn url(&self) -> String {
        self.server.superuser_url_of(&self.name)
    }

    /// The URL of another role.
    pub fn url_as(&self, role: &str, password: &str) -> String {
        self.server.url(role, password, &self.name)
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    async fn administer(&self, statement: &str) {
        let mut command = self.command(statement);
        let run = tokio::task::spawn_blocking(move || command.output());
        let output = expected(expected(run.await).context("cannot run psql"));
        let check = || -> anyhow::Result<()> {
            ensure!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
            Ok(())
        };
        expected(check());
    }

    fn command(&self, statement: &str) -> Command {
        let mut command = Command::new(psql());
        command
            .args(["--no-psqlrc", "--quiet", "--command", statement])
            .arg(self.server.superuser_url());
        command
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // What is left goes with the cluster, at the end of this process.
        let _ = self
            .command(&format!(
                "drop database if exists {} with (force)",
                self.name
            ))
            .output();
    }
}

fn hex(secret: u128) -> String {
    format!("{secret:032x}")
}
