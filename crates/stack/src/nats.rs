use std::{
    borrow::Cow,
    ffi::OsString,
    fs,
    path::PathBuf,
    process::ExitStatus,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nix::sys::signal::Signal;

use crate::{
    Binaries, Error,
    directory::{Directory, lock_file},
    error::Attempt,
    port,
    process::{Plan, Process},
};

/// The settings of a single machine: loopback, JetStream, every message on disk before it is acknowledged.
pub const SINGLE_NODE: &str = include_str!("../../../deploy/nats/single.conf");

const PROGRAM: &str = "nats-server";
/// A store of many gigabytes is read at start.
const START_PATIENCE: Duration = Duration::from_secs(60);
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// What one nats-server is made of.
#[derive(Clone, Debug)]
pub struct NatsConfig {
    /// Its directory; made where missing.
    pub dir: PathBuf,
    /// Its loopback port; 0 takes any free one.
    pub port: u16,
    /// Its name, which clients see.
    pub name: String,
    /// The text of its configuration file, mostly [`SINGLE_NODE`]; port, name and store directory are added.
    pub settings: Cow<'static, str>,
}

/// A nats-server of this process.
#[derive(Debug)]
pub struct Nats {
    config: NatsConfig,
    port: u16,
    binaries: Binaries,
    // Dropped before the directory: nobody else may take it while the server still runs.
    process: Mutex<Arc<Process>>,
    directory: Directory,
}

impl Nats {
    /// Starts the server and waits until it answers.
    pub async fn start(binaries: &Binaries, config: NatsConfig) -> Result<Nats, Error> {
        let directory = Directory::hold(&config.dir)?;
        let start = |port| launch(binaries, &config, &directory, port);
        let (port, process) = port::on_port(config.port, start).await?;
        let (binaries, process) = (binaries.clone(), Mutex::new(Arc::new(process)));
        Ok(Nats {
            config,
            port,
            binaries,
            process,
            directory,
        })
    }

    /// The port that it listens on, the same after every restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL that stock clients take.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The process id, for those who measure.
    pub fn pid(&self) -> i32 {
        self.process().pid().as_raw()
    }

    /// Asks the server to end, and waits for it.
    pub async fn stop(&self) -> Result<(), Error> {
        self.process().stop(Signal::SIGTERM, STOP_PATIENCE).await
    }

    /// Ends the server as a crash would (`kill -9`), and waits until it is gone.
    pub async fn kill(&self) {
        self.process().kill().await;
    }

    /// Stops it in its tracks (`SIGSTOP`): connections stay open and nobody answers.
    pub fn pause(&self) {
        self.process().freeze(&lock_file(self.directory.path()));
    }

    /// Lets a paused server go on.
    pub fn resume(&self) {
        self.process().thaw();
    }

    /// Waits until the server is gone, whoever ended it.
    pub async fn wait_exit(&self) -> Option<ExitStatus> {
        self.process().over().await
    }

    /// Starts it again on the same port and directory.
    pub async fn restart(&self) -> Result<(), Error> {
        self.stop().await?;
        let process = launch(&self.binaries, &self.config, &self.directory, self.port).await?;
        *self.slot() = Arc::new(process);
        Ok(())
    }

    fn process(&self) -> Arc<Process> {
        Arc::clone(&self.slot())
    }

    fn slot(&self) -> MutexGuard<'_, Arc<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn launch(
    binaries: &Binaries,
    config: &NatsConfig,
    directory: &Directory,
    port: u16,
) -> Result<Process, Error> {
    port::require_free(port)?;
    let file = directory.path().join("nats.conf");
    fs::write(&file, config.settings.as_bytes())
        .attempt(|| format!("cannot write {}", file.display()))?;
    let store = directory.path().join("store");
    let (port_text, name) = (port.to_string(), config.name.as_str());
    let mut arguments: Vec<OsString> = vec![
        "--config".into(),
        file.into(),
        "--store_dir".into(),
        store.into(),
    ];
    arguments
        .extend(["--addr", "127.0.0.1", "--port", &port_text, "--name", name].map(OsString::from));
    let plan = Plan {
        name: PROGRAM,
        program: binaries.nats_server.clone(),
        arguments,
        // What is acknowledged is on disk, so nothing is owed an orderly end.
        death_signal: Signal::SIGKILL,
        user: None,
        handed_over: Vec::new(),
    };
    let process = Process::start(plan, "Server is ready")?;
    process
        .ready(START_PATIENCE)
        .await
        .map_err(|error| port::or_taken(error, port))?;
    Ok(process)
}
