use std::{borrow::Cow, fs, ops::Deref, path::Path, process::Command};

use anyhow::Context as _;
use logline_stack::{NatsConfig, SINGLE_NODE};
use tempfile::TempDir;

use crate::{binaries, expected, place};

/// The directory within its own in which a server keeps its streams.
const STORE: &str = "store";

/// A nats-server of one test, with the settings of `logline dev`; it can be stopped, killed, paused and restarted.
#[derive(Debug)]
pub struct Nats {
    server: logline_stack::Nats,
    dir: TempDir,
}

/// What a server kept at some time.
#[derive(Debug)]
pub struct NatsStore(TempDir);

impl Nats {
    /// A server with the settings of a single machine.
    pub async fn start() -> Nats {
        Nats::start_with(SINGLE_NODE).await
    }

    /// The same as [`Nats::start`]: every bus server belongs to one test.
    pub async fn private() -> Nats {
        Nats::start().await
    }

    /// A server with the text of another configuration file.
    pub async fn start_with(settings: impl Into<Cow<'static, str>>) -> Nats {
        Nats::start_named("logline-test", settings).await
    }

    /// The same under a name of its own, which the servers of a cluster need.
    pub async fn start_named(name: &str, settings: impl Into<Cow<'static, str>>) -> Nats {
        let dir = place::fresh();
        let config = NatsConfig {
            dir: dir.path().to_path_buf(),
            port: 0,
            name: name.to_owned(),
            settings: settings.into(),
        };
        Nats {
            server: expected(logline_stack::Nats::start(binaries(), config).await),
            dir,
        }
    }

    /// Stops the server, copies what it keeps, as a backup does, and starts it again.
    pub async fn back_up(&self) -> NatsStore {
        expected(self.server.stop().await);
        let copy = place::fresh();
        copy_store(self.dir.path(), copy.path());
        expected(self.server.restart().await);
        NatsStore(copy)
    }

    /// Kills the server and starts it with an older copy in the place of what it kept: what is newer is forgotten.
    pub async fn put_back(&self, kept: &NatsStore) {
        self.server.kill().await;
        let store = self.dir.path().join(STORE);
        expected(fs::remove_dir_all(store).context("cannot remove the store"));
        copy_store(kept.0.path(), self.dir.path());
        expected(self.server.restart().await);
    }
}

fn copy_store(from: &Path, to: &Path) {
    let copied = Command::new("cp")
        .arg("-a")
        .args([from.join(STORE), to.join(STORE)])
        .status();
    let is_copied = expected(copied.context("cannot run cp")).success();
    assert!(is_copied, "the store was not copied");
}

impl Deref for Nats {
    type Target = logline_stack::Nats;

    fn deref(&self) -> &logline_stack::Nats {
        &self.server
    }
}
