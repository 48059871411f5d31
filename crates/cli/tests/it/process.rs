//! `logline` as a child process of a test.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

/// The binary under test, with no more of the environment than it takes to run.
pub(crate) fn logline() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_logline"));
    // Addresses in the developer's environment are no business of the tests.
    command.env_clear();
    for kept in ["PATH", "HOME", "XDG_CACHE_HOME", "TMPDIR"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    command
}

/// Runs `logline` with these arguments in a directory, to its end.
pub(crate) fn run(directory: &Path, arguments: &[&str]) -> Output {
    logline()
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Runs `logline`, which must succeed, and gives its standard output.
pub(crate) fn answer(directory: &Path, arguments: &[&str]) -> String {
    let output = run(directory, arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A `logline dev` that has said its addresses.
pub(crate) struct Stack {
    pub(crate) child: Child,
    pub(crate) addresses: Value,
    pub(crate) ready_after: Duration,
}

impl Stack {
    /// Starts one in `directory`, on free ports.
    pub(crate) fn start(directory: &Path) -> Self {
        Self::start_with(directory, &[])
    }

    /// Starts one with more in its environment.
    pub(crate) fn start_with(directory: &Path, environment: &[(&str, &str)]) -> Self {
        Self::launch(directory, environment, &[])
    }

    /// Starts one with more flags.
    pub(crate) fn start_as(directory: &Path, flags: &[&str]) -> Self {
        Self::launch(directory, &[], flags)
    }

    fn launch(directory: &Path, environment: &[(&str, &str)], flags: &[&str]) -> Self {
        let started = Instant::now();
        let mut child = logline()
            .args([
                "dev",
                "--port",
                "0",
                "--nats-port",
                "0",
                "--pg-port",
                "0",
                "--output",
                "json",
            ])
            .args(flags)
            .current_dir(directory)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready_after = started.elapsed();
        let addresses =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("`logline dev` said {line:?}"));
        Self {
            child,
            addresses,
            ready_after,
        }
    }

    /// One of its addresses.
    pub(crate) fn address(&self, name: &str) -> &str {
        self.addresses[name].as_str().unwrap()
    }

    /// Sends a signal to it.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(
            Pid::from_raw(i32::try_from(self.child.id()).unwrap()),
            signal,
        )
        .unwrap();
    }

    /// Stops it as Ctrl-C does.
    pub(crate) fn stop(mut self) {
        self.signal(Signal::SIGINT);
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
