//! Given servers and parts in processes of their own, each of which a test can end and start again.

use std::{
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};

use logline_bus::{Bus, Outgoing};
use logline_span::Encoding;
use logline_testkit::{Nats, Postgres};
use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use crate::process::{answer, logline};

/// Migrated servers, and a connection to the bus.
pub(crate) struct System {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) postgres: Postgres,
    pub(crate) nats: Nats,
    pub(crate) bus: Bus,
    /// Held while something is done to the bus's server.
    pub(crate) bus_faults: tokio::sync::Mutex<()>,
    /// The same for Postgres.
    pub(crate) postgres_faults: tokio::sync::Mutex<()>,
}

impl System {
    pub(crate) async fn start() -> Self {
        Self::start_with("").await
    }

    /// With more in its configuration.
    pub(crate) async fn start_with(more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (postgres, nats) = tokio::join!(Postgres::private(), Nats::private());
        std::fs::write(
            directory.path().join("logline.toml"),
            configuration(&postgres, &nats) + more,
        )
        .unwrap();
        let key = logline()
            .args(["keygen", "signer.key"])
            .current_dir(directory.path())
            .output()
            .unwrap();
        assert!(key.status.success(), "{key:?}");
        answer(directory.path(), &["migrate", "--config", "logline.toml"]);
        let bus = Bus::connect(&logline_bus::Config {
            url: nats.url(),
            connection_name: "test".to_owned(),
            replicas: 1,
            ingest_bytes_max: 1 << 30,
            user_password: None,
            ca_file: None,
            open_inboxes: false,
        })
        .await
        .unwrap();
        Self {
            directory,
            postgres,
            nats,
            bus,
            bus_faults: tokio::sync::Mutex::default(),
            postgres_faults: tokio::sync::Mutex::default(),
        }
    }
}

/// A part that can be killed and started again.
pub(crate) struct Part {
    pub(crate) roles: &'static str,
    child: Child,
}

impl Part {
    pub(crate) fn start(directory: &Path, roles: &'static str) -> Self {
        Self::start_until(directory, roles, None)
    }

    /// One that stops in its tracks at a step of the projector.
    pub(crate) fn start_until(
        directory: &Path,
        roles: &'static str,
        stop_at: Option<&'static str>,
    ) -> Self {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(directory.join(format!("{roles}.log")))
            .unwrap();
        let child = logline()
            .args(["serve", "--roles", roles, "--config", "logline.toml"])
            .current_dir(directory)
            .env("LOGLINE_SANDBOX_CACHE_DIR", directory.join("cache"))
            .envs(stop_at.map(|step| ("LOGLINE_STOP_AT", step)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { roles, child }
    }

    /// Stops it in its tracks.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Waits until it has stopped in its tracks.
    pub(crate) async fn stopped(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        let waiting = tokio::task::spawn_blocking(move || {
            waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap()
        });
        let status = waiting.await.unwrap();
        assert_eq!(status, WaitStatus::Stopped(pid, Signal::SIGSTOP));
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn end(&mut self) {
        self.signal(Signal::SIGTERM);
        while self.child.try_wait().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        // One that has just ended takes no signal.
        let _ = kill(Pid::from_raw(pid), signal);
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A span as it is published, in JSON.
pub(crate) fn outgoing(body: &str) -> Outgoing {
    Outgoing {
        body: body.to_owned().into(),
        encoding: Encoding::Json,
        traceparent: None,
        receipt: None,
        depth: None,
    }
}

fn configuration(postgres: &Postgres, nats: &Nats) -> String {
    let url = |role: &str| postgres.url(role, "password", "postgres");
    format!(
        "[bus]\nurl = \"{}\"\n[log]\nformat = \"text\"\n[signer]\nkey_file = \"signer.key\"\n[keys]\nsigning_key_hex = \"{}\"\n[ledger]\nlog_name = \"faults\"\n\
         admin_url = \"{}\"\nprojector_url = \"{}\"\nreader_url = \"{}\"\nactor_url = \"{}\"\nsigner_url = \"{}\"\noutbox_url = \"{}\"\nverifier_url = \"{}\"\n\
         projector_password = \"password\"\nreader_password = \"password\"\nactor_password = \"password\"\nsigner_password = \"password\"\noutbox_password = \"password\"\nverifier_password = \"password\"\n\
         identity_key_hex = \"{}\"\n",
        nats.url(),
        "7".repeat(64),
        postgres.superuser_url(),
        url("logline_projector"),
        url("logline_reader"),
        url("logline_actor"),
        url("logline_signer"),
        url("logline_outbox"),
        url("logline_verifier"),
        "5".repeat(64),
    )
}
