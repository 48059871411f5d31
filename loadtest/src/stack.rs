//! The stack under load: one that runs, or one of our own in a temporary directory on free ports.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        signal::{Signal, kill},
    },
    unistd::Pid,
};
use serde::Deserialize;
use tempfile::TempDir;

/// Open files that are enough for every scenario.
const FILES_MAX: u64 = 8192;

/// Bounds of the API that one address and one principal would meet first; `docs/load.md` names them.
const RAISED: [(&str, &str); 2] = [
    ("LOGLINE_API_STREAMS_MAX", "4096"),
    ("LOGLINE_API_CONNECTIONS_MAX", "8192"),
];

/// The rate limit of an API that has one: so low that the slowest machine goes beyond it.
pub(crate) const RATE_PER_SECOND: u32 = 1;
pub(crate) const RATE_BURST: u32 = 20;

/// Where a stack is: what `logline dev` writes to `stack.json`, as far as it is used here.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Addresses {
    pub(crate) api: String,
    /// A login that sees the streams.
    pub(crate) nats_admin: String,
    pub(crate) token: String,
    pub(crate) tenant: String,
    pub(crate) principal: String,
}

/// A stack, and its process where it is ours.
pub(crate) struct Stack {
    addresses: Addresses,
    own: Option<Own>,
}

struct Own {
    program: PathBuf,
    process: Process,
    directory: TempDir,
}

/// A child that ends with this value.
struct Process(Child);

impl Stack {
    /// The stack whose addresses a file holds.
    pub(crate) fn at(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file)
            .with_context(|| format!("cannot read `{}`", file.display()))?;
        let addresses = serde_json::from_str(&text)
            .with_context(|| format!("`{}` is no list of addresses", file.display()))?;
        Ok(Self {
            addresses,
            own: None,
        })
    }

    /// Starts one with `program`, or with the `logline` beside this program.
    pub(crate) fn start(program: Option<&Path>) -> Result<Self> {
        let program = match program {
            Some(program) => std::path::absolute(program)?,
            None => std::env::current_exe()?.with_file_name("logline"),
        };
        ensure!(
            program.is_file(),
            "no program `{}`: build it (`cargo build --workspace`), or name another with --logline",
            program.display()
        );
        let directory = tempfile::tempdir().context("cannot make a directory for the stack")?;
        let mut command = Command::new(&program);
        command
            .args(["dev", "--output", "json"])
            .args(["--port", "0", "--nats-port", "0", "--pg-port", "0"])
            .current_dir(directory.path())
            .envs(RAISED)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut process = Process::start(command)?;
        let mut line = String::new();
        let output = process.0.stdout.as_mut().context("no output to read")?;
        BufReader::new(output)
            .read_line(&mut line)
            .context("cannot read the stack's addresses")?;
        let addresses = serde_json::from_str(&line)
            .with_context(|| format!("`logline dev` did not start: it said {line:?}"))?;
        Ok(Self {
            addresses,
            own: Some(Own {
                program,
                process,
                directory,
            }),
        })
    }

    pub(crate) fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// A token that lives as long as it says, such as `12s`; `None` where the stack is not ours.
    pub(crate) fn token(&self, ttl: &str) -> Result<Option<String>> {
        let Some(own) = &self.own else {
            return Ok(None);
        };
        let Addresses {
            tenant, principal, ..
        } = &self.addresses;
        let output = Command::new(&own.program)
            .args(["token", "mint", "--output", "json", "--ttl", ttl])
            .args(["--tenant", tenant, "--principal", principal])
            .current_dir(own.directory.path())
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .context("cannot start `logline token mint`")?;
        ensure!(output.status.success(), "`logline token mint` failed");
        let minted: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let token = minted.get("token").and_then(serde_json::Value::as_str);
        let token = token.context("`logline token mint` printed no token")?;
        Ok(Some(token.to_owned()))
    }

    /// Another API on the same stack, with a rate limit; `None` where the stack is not ours.
    pub(crate) fn limited(&self) -> Result<Option<Limited>> {
        let Some(own) = &self.own else {
            return Ok(None);
        };
        let mut command = Command::new(&own.program);
        command
            .args(["serve", "--roles", "api", "--config"])
            .arg(own.directory.path().join(".logline/config.toml"))
            .current_dir(own.directory.path())
            .env("LOGLINE_API_LISTEN", "127.0.0.1:0")
            .env("LOGLINE_API_RATE_PER_SECOND", RATE_PER_SECOND.to_string())
            .env("LOGLINE_API_RATE_BURST", RATE_BURST.to_string())
            .env("LOGLINE_LOG_FILTER", "info")
            .env("LOGLINE_LOG_FORMAT", "json")
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        let mut process = Process::start(command)?;
        let log = process.0.stderr.take().context("no log to read")?;
        let mut log = BufReader::new(log);
        let api = ready(&mut log)?;
        // Its log goes on, and a full pipe would stop it.
        let drain = std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Ok(Some(Limited {
            addresses: Addresses {
                api,
                ..self.addresses.clone()
            },
            process: Some(process),
            drain: Some(drain),
        }))
    }

    /// Stops what is ours, as Ctrl-C does, so that it leaves nothing behind.
    pub(crate) fn stop(self) -> Result<()> {
        let Some(mut own) = self.own else {
            return Ok(());
        };
        let pid = i32::try_from(own.process.0.id()).context("no process has such a number")?;
        kill(Pid::from_raw(pid), Signal::SIGINT).context("cannot stop the stack")?;
        let status = own.process.0.wait().context("cannot wait for the stack")?;
        ensure!(status.success(), "the stack ended with {status}");
        Ok(())
    }
}

/// An API with a rate limit.
pub(crate) struct Limited {
    pub(crate) addresses: Addresses,
    process: Option<Process>,
    drain: Option<std::thread::JoinHandle<std::io::Result<u64>>>,
}

impl Drop for Limited {
    fn drop(&mut self) {
        // Its end ends its log, and that the thread.
        drop(self.process.take());
        if let Some(drain) = self.drain.take() {
            let _ = drain.join();
        }
    }
}

/// Reads the log until the address of the API is in it.
fn ready(log: &mut impl BufRead) -> Result<String> {
    let mut said = String::new();
    loop {
        let mut line = String::new();
        if log.take(1 << 20).read_line(&mut line)? == 0 {
            bail!("`logline serve` did not start: it said {said:?}");
        }
        let entry: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        let api = entry.get("api");
        if let Some(api) = api.and_then(serde_json::Value::as_str) {
            return Ok(format!("http://{api}"));
        }
        said.push_str(&line);
    }
}

impl Process {
    fn start(mut command: Command) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        command
            .spawn()
            .map(Self)
            .with_context(|| format!("cannot start `{program}`"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended takes no signal.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lets this process and those that it starts open as many files as a scenario needs.
pub(crate) fn raise_files_max(needed: u64) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("cannot ask for the limits")?;
    let raised = soft.max(hard.min(FILES_MAX));
    setrlimit(Resource::RLIMIT_NOFILE, raised, hard).context("cannot raise the limit of files")?;
    ensure!(
        raised >= needed,
        "at most {raised} files may be open, and {needed} are needed: raise the hard limit (`ulimit -Hn`)"
    );
    Ok(())
}
