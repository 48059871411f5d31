use std::{borrow::Cow, ops::Deref};

use logline_stack::{NatsConfig, SINGLE_NODE};
use tempfile::TempDir;

use crate::{binaries, expected, place};

/// A nats-server of one test, with the settings of `logline dev`; it can be stopped, killed, paused and restarted.
#[derive(Debug)]
pub struct Nats {
    server: logline_stack::Nats,
    _dir: TempDir,
}

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
            _dir: dir,
        }
    }
}

impl Deref for Nats {
    type Target = logline_stack::Nats;

    fn deref(&self) -> &logline_stack::Nats {
        &self.server
    }
}
