use std::{
    collections::VecDeque,
    ffi::OsString,
    fs,
    io::{BufRead as _, BufReader, PipeReader},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::{
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};
use tokio::sync::watch;

use crate::{
    Error, binaries,
    error::Attempt,
    guard::{self, Guard},
};

/// How many of the last lines a failure quotes.
const QUOTED_LINES: usize = 12;
/// The readers of child logs do nothing deep.
const THREAD_STACK_BYTES: usize = 128 * 1024;

/// What is to be run, as whom, and how it ends when this process ends.
pub(crate) struct Plan {
    /// How messages call it.
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    /// What the kernel sends to the child when this process is gone.
    pub(crate) death_signal: Signal,
    /// The user to become; only root can.
    pub(crate) user: Option<Account>,
    /// Descriptors that the child finds under the same numbers, whatever its user may open by path.
    pub(crate) handed_over: Vec<OwnedFd>,
}

/// A user and its primary group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) user: u32,
    pub(crate) group: u32,
}

/// A running child. Dropping it ends it and waits for that.
#[derive(Debug)]
pub(crate) struct Process {
    program: &'static str,
    pid: Pid,
    death_signal: Signal,
    state: watch::Receiver<State>,
    log: Arc<Mutex<VecDeque<String>>>,
    threads: Vec<JoinHandle<()>>,
    frozen: Mutex<Option<Frozen>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    ready: bool,
    exit: Option<ExitStatus>,
    /// Nobody holds the log pipe: the child's own children are gone too.
    silent: bool,
}

impl State {
    fn is_over(&self) -> bool {
        self.exit.is_some() && self.silent
    }
}

#[derive(Debug)]
struct Frozen {
    pids: Vec<Pid>,
    _guard: Option<Guard>,
}

impl Process {
    /// Starts the child; the caller waits for [`Process::ready`].
    ///
    /// `ready_line` is part of the log line by which it says that it is ready.
    pub(crate) fn start(plan: Plan, ready_line: &'static str) -> Result<Process, Error> {
        let (program, death_signal) = (plan.name, plan.death_signal);
        let (log_reader, log_writer) =
            std::io::pipe().attempt(|| format!("cannot make a log pipe for {program}"))?;
        let mut child = spawn(plan, |command| {
            command.stderr(log_writer);
        })?;
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or_default());

        let (publish, state) = watch::channel(State::default());
        let publish = Arc::new(publish);
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let (publish_log, lines) = (Arc::clone(&publish), Arc::clone(&log));
        let reader = thread_named(program, "log", move || {
            read_log(program, log_reader, ready_line, &lines, &publish_log);
        });
        let waiter = thread_named(program, "exit", move || {
            let exit = child.wait().unwrap_or_default();
            publish.send_modify(|state| state.exit = Some(exit));
        });
        let threads = vec![
            reader.attempt(|| format!("cannot watch {program}"))?,
            waiter.attempt(|| format!("cannot watch {program}"))?,
        ];
        Ok(Process {
            program,
            pid,
            death_signal,
            state,
            log,
            threads,
            frozen: Mutex::new(None),
        })
    }

    /// Waits until the child has said that it is ready.
    pub(crate) async fn ready(&self, patience: Duration) -> Result<(), Error> {
        let mut state = self.state.clone();
        let seen = state.wait_for(|state| state.ready || state.is_over());
        match tokio::time::timeout(patience, seen).await {
            Ok(Ok(state)) if state.ready => Ok(()),
            Ok(_) => Err(Error::NotReady {
                program: self.program,
                detail: self.last_words(),
            }),
            Err(_) => Err(Error::NotReady {
                program: self.program,
                detail: format!(
                    "nothing after {} s; {}",
                    patience.as_secs(),
                    self.last_words()
                ),
            }),
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits until the child and everything that it started are gone. The status is unknown if nobody could wait for it.
    pub(crate) fn over(&self) -> impl Future<Output = Option<ExitStatus>> + Send + use<> {
        let mut state = self.state.clone();
        async move {
            state
                .wait_for(State::is_over)
                .await
                .ok()
                .and_then(|state| state.exit)
        }
    }

    pub(crate) fn send(&self, signal: Signal) {
        if self.state.borrow().exit.is_none() {
            // The only refusal is that the child is gone, which is what signals are sent for here.
            let _ = kill(self.pid, signal);
        }
    }

    /// Stops the child and its children in their tracks, until [`Process::thaw`].
    pub(crate) fn freeze(&self, lock_file: &Path) {
        let mut frozen = self.frozen();
        if frozen.is_some() {
            return;
        }
        let mut pids = vec![self.pid];
        self.send(Signal::SIGSTOP);
        // Its threads on other processors go on for a moment. The child may also be gone, and its end is for another to note.
        let stopped = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        let _ = waitid(Id::Pid(self.pid), stopped);
        // A stopped parent forks no more, so one look at its children is complete.
        for child in children(self.pid) {
            if kill(child, Signal::SIGSTOP).is_ok() {
                pids.push(child);
            }
        }
        // A stopped process acts on no death signal but SIGKILL, and its children get none at all.
        let guard = guard::kill_when_this_process_ends(lock_file, &pids);
        *frozen = Some(Frozen {
            pids,
            _guard: guard,
        });
    }

    /// Lets a frozen child go on.
    pub(crate) fn thaw(&self) {
        if let Some(frozen) = self.frozen().take() {
            for pid in frozen.pids {
                // A child that was killed meanwhile needs no continuation.
                let _ = kill(pid, Signal::SIGCONT);
            }
        }
    }

    /// Asks the child to end, waits for it, and insists when it takes too long.
    pub(crate) async fn stop(&self, signal: Signal, patience: Duration) -> Result<(), Error> {
        self.thaw();
        self.send(signal);
        if tokio::time::timeout(patience, self.over()).await.is_err() {
            self.destroy();
            self.over().await;
            return Err(Error::NotStopped {
                program: self.program,
                patience,
            });
        }
        Ok(())
    }

    /// Ends the child as a crash would, and waits until it and its children are gone.
    pub(crate) async fn kill(&self) {
        self.destroy();
        self.over().await;
    }

    /// Ends the child as a crash would (`kill -9`).
    pub(crate) fn destroy(&self) {
        let frozen = self.frozen().take();
        self.send(Signal::SIGKILL);
        for pid in frozen.map(|frozen| frozen.pids).unwrap_or_default() {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }

    /// The last lines of the child's log.
    pub(crate) fn last_words(&self) -> String {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.is_empty() {
            "it said nothing".to_owned()
        } else {
            log.iter().cloned().collect::<Vec<_>>().join("\n")
        }
    }

    fn frozen(&self) -> MutexGuard<'_, Option<Frozen>> {
        self.frozen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.frozen().is_some() {
            self.destroy();
        } else {
            self.send(self.death_signal);
        }
        for thread in self.threads.drain(..) {
            // A watcher that panicked has nothing left to wait for.
            let _ = thread.join();
        }
    }
}

/// Runs a program to its end, with the same rights and ties as a server.
pub(crate) fn run(plan: Plan) -> Result<(), Error> {
    let program = plan.name;
    let child = spawn(plan, |command| {
        command.stderr(Stdio::piped());
    })?;
    let output = child
        .wait_with_output()
        .attempt(|| format!("cannot run {program}"))?;
    if output.status.success() {
        return Ok(());
    }
    let detail = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::NotReady { program, detail })
}

fn spawn(plan: Plan, connect: impl FnOnce(&mut Command)) -> Result<Child, Error> {
    let mut command = tethered(&plan)?;
    // A group of its own: Ctrl-C reaches this process alone, which stops its servers in its own order.
    command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    connect(&mut command);
    let (answer, answered) = mpsc::sync_channel(1);
    let job = Job {
        command,
        handed_over: plan.handed_over,
        answer,
    };
    let spawned = spawner().and_then(|thread| {
        thread.send(job).map_err(std::io::Error::other)?;
        answered.recv().map_err(std::io::Error::other)?
    });
    spawned.attempt(|| format!("cannot start {} ({})", plan.name, plan.program.display()))
}

/// The command line under which the child becomes the user and dies with this process.
///
/// `setpriv` sets the death signal after the change of user, which would clear it.
fn tethered(plan: &Plan) -> Result<Command, Error> {
    let mut command = if cfg!(target_os = "linux") {
        let mut command = Command::new(binaries::required("setpriv", "install util-linux")?);
        if let Some(account) = plan.user {
            command
                .arg(format!("--reuid={}", account.user))
                .arg(format!("--regid={}", account.group));
            command.arg("--clear-groups");
        }
        command.arg(format!(
            "--pdeathsig={}",
            plan.death_signal.as_str().trim_start_matches("SIG")
        ));
        command.arg("--").arg(&plan.program);
        command
    } else {
        let mut command = Command::new(&plan.program);
        if let Some(account) = plan.user {
            command.uid(account.user).gid(account.group);
        }
        command
    };
    command.args(&plan.arguments);
    // The logs are read by this process, in the one language that it knows.
    command
        .env_clear()
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .env("PATH", "/usr/bin:/bin");
    // The caller's directory may be closed to the user, and `/` is open to everybody.
    command.current_dir("/");
    Ok(command)
}

struct Job {
    command: Command,
    handed_over: Vec<OwnedFd>,
    answer: mpsc::SyncSender<std::io::Result<Child>>,
}

/// The thread whose end is the end of this process.
///
/// The kernel ties a death signal to the *thread* that made the child: one of a pool would take its children with it.
fn spawner() -> std::io::Result<mpsc::SyncSender<Job>> {
    static SPAWNER: Mutex<Option<mpsc::SyncSender<Job>>> = Mutex::new(None);
    let mut spawner = SPAWNER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(spawner) = spawner.as_ref() {
        return Ok(spawner.clone());
    }
    let (jobs, queue) = mpsc::sync_channel::<Job>(1);
    thread_named("stack", "spawner", move || {
        for mut job in queue {
            let child = inherit(&job.handed_over).and_then(|()| job.command.spawn());
            // The descriptors close here, before another child could inherit them from this thread.
            drop(job.handed_over);
            // The caller waits for the answer; if it is gone, so is its interest in the child.
            let _ = job.answer.send(child);
        }
    })?;
    *spawner = Some(jobs.clone());
    Ok(jobs)
}

fn inherit(descriptors: &[OwnedFd]) -> std::io::Result<()> {
    for descriptor in descriptors {
        fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty()))?;
    }
    Ok(())
}

/// The path by which a child opens a descriptor that was handed over to it.
pub(crate) fn descriptor_path(descriptor: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/dev/fd/{}", descriptor.as_raw_fd()))
}

fn read_log(
    program: &str,
    pipe: PipeReader,
    ready_line: &str,
    log: &Mutex<VecDeque<String>>,
    state: &watch::Sender<State>,
) {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        line.clear();
        tracing::debug!(target: "logline::stack", server = program, "{text}");
        if text.contains(ready_line) {
            state.send_modify(|state| state.ready = true);
        }
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() == QUOTED_LINES {
            log.pop_front();
        }
        log.push_back(text);
    }
    state.send_modify(|state| state.silent = true);
}

pub(crate) fn thread_named(
    program: &str,
    task: &str,
    body: impl FnOnce() + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new()
        .name(format!("{program} {task}"))
        .stack_size(THREAD_STACK_BYTES)
        .spawn(body)
}

/// The direct children of a process, where `/proc` tells.
fn children(parent: Pid) -> Vec<Pid> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_string_lossy().parse::<i32>().ok());
    pids.filter(|pid| parent_of(*pid) == Some(parent.as_raw()))
        .map(Pid::from_raw)
        .collect()
}

/// The command name in `/proc/<pid>/stat` may hold anything, so fields count from its closing parenthesis.
fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

/// Stops this process in its tracks (`SIGSTOP`) until somebody lets it go on.
///
/// # Errors
/// Where the system does not send the signal.
pub fn freeze_this_process() -> std::io::Result<()> {
    nix::sys::signal::raise(Signal::SIGSTOP).map_err(Into::into)
}
