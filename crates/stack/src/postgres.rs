use std::{
    ffi::OsString,
    fmt, fs,
    io::{Seek as _, Write as _},
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nix::{
    sys::signal::Signal,
    unistd::{Gid, Uid, User, chown, fchown, geteuid},
};
use tokio::sync::watch;

use crate::{
    Binaries, Error, PostgresInstallation,
    binaries::NO_POSTGRES,
    directory::{Directory, lock_file, owner},
    error::Attempt,
    port,
    process::{self, Account, Plan, Process, descriptor_path},
};

/// The settings of a cluster that holds one ledger.
const SETTINGS: &str = include_str!("../../../deploy/postgres/single.conf");

const PROGRAM: &str = "PostgreSQL";
const SUPERUSER: &str = "postgres";
/// Users that root becomes, in the order of preference: PostgreSQL refuses to run as root.
const SERVER_USERS: [&str; 2] = ["postgres", "nobody"];
/// Recovery after a crash reads up to `max_wal_size` of log.
const START_PATIENCE: Duration = Duration::from_secs(180);
/// A fast shutdown writes what the cache holds.
const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// What one cluster is made of.
#[derive(Clone)]
pub struct PostgresConfig {
    /// Its directory; made where missing, with a cluster inside.
    pub dir: PathBuf,
    /// Its loopback port; 0 takes any free one.
    pub port: u16,
    /// The password that the superuser has in this directory, or gets if the cluster is made. No percent-encoding is done.
    pub superuser_password: String,
    /// Whether the data must survive a power cut. Never false where anybody's spans are kept.
    pub is_durable: bool,
    /// Settings that win over those of `deploy/postgres/single.conf`.
    pub settings: Vec<(String, String)>,
}

impl fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConfig")
            .field("dir", &self.dir)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// A PostgreSQL cluster of this process.
#[derive(Debug)]
pub struct Postgres {
    config: PostgresConfig,
    port: u16,
    binaries: Binaries,
    // Dropped before the directory: nobody else may take it while the server still runs.
    process: Mutex<Arc<Process>>,
    directory: Directory,
    flushed: watch::Receiver<bool>,
}

impl Postgres {
    /// Makes the cluster where it is missing, starts it and waits until it takes connections.
    pub async fn start(binaries: &Binaries, config: PostgresConfig) -> Result<Postgres, Error> {
        let directory = Directory::hold(&config.dir)?;
        let cluster = Cluster::of(&directory)?;
        if cluster.release()?.is_none() {
            let (making, binaries, config) = (cluster.clone(), binaries.clone(), config.clone());
            blocking(move || making.create(&binaries, &config)).await?;
        }
        let start = |port| launch(binaries, &config, &cluster, port);
        let (port, process) = port::on_port(config.port, start).await?;
        let flushed = cluster.flush_aside();
        let (binaries, process) = (binaries.clone(), Mutex::new(Arc::new(process)));
        Ok(Postgres {
            config,
            port,
            binaries,
            process,
            directory,
            flushed,
        })
    }

    /// The port that it listens on, the same after every restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The superuser's URL, of the database `postgres`.
    pub fn superuser_url(&self) -> String {
        self.url(SUPERUSER, &self.config.superuser_password, "postgres")
    }

    /// The superuser's URL of a database.
    pub fn superuser_url_of(&self, database: &str) -> String {
        self.url(SUPERUSER, &self.config.superuser_password, database)
    }

    /// The URL of a role and database, none of which may need percent-encoding.
    pub fn url(&self, role: &str, password: &str, database: &str) -> String {
        format!(
            "postgres://{role}:{password}@127.0.0.1:{}/{database}",
            self.port
        )
    }

    /// Waits until the files of a new cluster are on the disk.
    ///
    /// The server works before: until then a power cut can cost the cluster that was just made, and nothing older.
    pub async fn settled(&self) {
        // The flush failed and has said so; the next start tries again.
        let _ = self.flushed.clone().wait_for(|flushed| *flushed).await;
    }

    /// The process id of the server's first process, for those who measure.
    pub fn pid(&self) -> i32 {
        self.process().pid().as_raw()
    }

    /// Ends all sessions and the server in order ("fast shutdown"), and waits for it.
    pub async fn stop(&self) -> Result<(), Error> {
        self.process().stop(Signal::SIGINT, STOP_PATIENCE).await
    }

    /// Ends the server as a crash would (`kill -9`), and waits until it and its sessions are gone.
    pub async fn kill(&self) {
        self.process().kill().await;
    }

    /// Stops the server and its sessions in their tracks (`SIGSTOP`): connections stay open and nobody answers.
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
        let cluster = Cluster::of(&self.directory)?;
        let process = launch(&self.binaries, &self.config, &cluster, self.port).await?;
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

/// The data directory and the user that it belongs to.
#[derive(Clone, Debug)]
struct Cluster {
    data: PathBuf,
    /// The user to become; `None` where this process is that user.
    user: Option<Account>,
}

impl Cluster {
    fn of(directory: &Directory) -> Result<Cluster, Error> {
        let data = directory.path().join("data");
        let me = geteuid();
        let held_by = if data.exists() {
            Some(Uid::from_raw(owner(&data)?))
        } else {
            None
        };
        let user = match held_by {
            Some(uid) if uid == me && !me.is_root() => None,
            Some(uid) if me.is_root() && !uid.is_root() => Some(account(uid, &data)?),
            Some(uid) => {
                let name = User::from_uid(uid)
                    .ok()
                    .flatten()
                    .map_or_else(|| uid.to_string(), |user| user.name);
                return Err(Error::DirectoryForeign {
                    dir: data,
                    owner: name,
                });
            }
            None if me.is_root() => Some(server_user()?),
            None => None,
        };
        Ok(Cluster { data, user })
    }

    /// The major release that made the cluster, if there is one.
    fn release(&self) -> Result<Option<u32>, Error> {
        let file = self.data.join("PG_VERSION");
        match fs::read_to_string(&file) {
            Ok(text) => Ok(text.trim().parse().ok()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).attempt(|| format!("cannot read {}", file.display())),
        }
    }

    /// Makes the cluster beside its place and moves it there whole: a crash leaves none, not half of one.
    fn create(&self, binaries: &Binaries, config: &PostgresConfig) -> Result<(), Error> {
        let installation = binaries.postgres.first().ok_or(NO_POSTGRES)?;
        let unfinished = self.data.with_extension("unfinished");
        let failed = || format!("cannot prepare {}", unfinished.display());
        match fs::remove_dir_all(&unfinished) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).attempt(failed);
            }
            _ => fs::DirBuilder::new()
                .mode(0o700)
                .create(&unfinished)
                .attempt(failed)?,
        }
        let mut password = tempfile::tempfile().attempt(failed)?;
        writeln!(password, "{}", config.superuser_password)
            .and_then(|()| password.rewind())
            .attempt(failed)?;
        if let Some(Account { user, group }) = self.user {
            let (user, group) = (Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
            chown(&unfinished, user, group).attempt(failed)?;
            fchown(&password, user, group).attempt(failed)?;
        }
        let password = OwnedFd::from(password);
        let (data, mut handed_over) = self.reach(&unfinished)?;
        let mut arguments: Vec<OsString> = vec!["--pgdata".into(), data.into()];
        arguments.extend(["--pwfile".into(), descriptor_path(&password).into()]);
        arguments.extend(["--username", SUPERUSER, "--auth=scram-sha-256"].map(OsString::from));
        arguments.extend(
            [
                "--encoding=UTF8",
                "--no-locale",
                "--no-sync",
                "--no-instructions",
            ]
            .map(OsString::from),
        );
        handed_over.push(password);
        process::run(self.plan(installation, "initdb", arguments, handed_over))?;
        if config.is_durable {
            fs::write(unflushed_mark(&self.data), "").attempt(failed)?;
        }
        fs::rename(&unfinished, &self.data).attempt(failed)
    }

    /// Writes the files of a new cluster through to the disk, beside the server that already runs.
    ///
    /// The mark outlives a crash, so that the next start does it again.
    fn flush_aside(&self) -> watch::Receiver<bool> {
        let mark = unflushed_mark(&self.data);
        let (publish, flushed) = watch::channel(!mark.exists());
        if !*flushed.borrow() {
            let data = self.data.clone();
            let task = move || match flush(&data).and_then(|()| fs::remove_file(&mark)) {
                Ok(()) => drop(publish.send(true)),
                Err(error) => tracing::warn!(%error, "the new cluster is not flushed to the disk"),
            };
            // A start that cannot have the thread leaves the mark to the next one.
            let _ = process::thread_named(PROGRAM, "flush", task);
        }
        flushed
    }

    /// The path by which the server's user reaches a directory, and the descriptors behind that path.
    ///
    /// That user may not enter the parents, say a home of root. An open descriptor leads past them.
    fn reach(&self, dir: &Path) -> Result<(PathBuf, Vec<OwnedFd>), Error> {
        if self.user.is_none() || !cfg!(target_os = "linux") {
            return Ok((dir.to_path_buf(), Vec::new()));
        }
        let open = fs::File::open(dir).attempt(|| format!("cannot open {}", dir.display()))?;
        let open = OwnedFd::from(open);
        Ok((descriptor_path(&open), vec![open]))
    }

    fn plan(
        &self,
        installation: &PostgresInstallation,
        program: &str,
        arguments: Vec<OsString>,
        handed_over: Vec<OwnedFd>,
    ) -> Plan {
        Plan {
            name: PROGRAM,
            program: installation.bin.join(program),
            arguments,
            // "Fast shutdown": sessions end at once, and the next start has nothing to recover.
            death_signal: Signal::SIGINT,
            user: self.user,
            handed_over,
        }
    }

    /// The installed release that can open this cluster.
    fn installation<'a>(&self, binaries: &'a Binaries) -> Result<&'a PostgresInstallation, Error> {
        let wanted = self.release()?.unwrap_or_default();
        binaries
            .postgres
            .iter()
            .find(|found| found.major == wanted)
            .ok_or_else(|| Error::ReleaseMismatch {
                dir: self.data.clone(),
                wanted,
                found: binaries
                    .postgres
                    .iter()
                    .map(|found| found.major.to_string())
                    .collect::<Vec<_>>()
                    .join(", "),
            })
    }

    /// Refuses when a server of somebody else runs here; forgets one that is gone.
    ///
    /// PostgreSQL itself takes any live process with the noted id for a server, and ids come round again.
    fn require_unused(&self) -> Result<(), Error> {
        let note = self.data.join("postmaster.pid");
        let Ok(text) = fs::read_to_string(&note) else {
            return Ok(());
        };
        // A power cut leaves an empty note, over which PostgreSQL would not start.
        let pid = text.lines().next().map(str::trim).map(str::parse::<i32>);
        if let Some(Ok(pid)) = pid {
            let alive = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None)
                != Err(nix::errno::Errno::ESRCH);
            // What may not be looked at belongs to another user, and no server of this directory does.
            let elsewhere = fs::read_link(format!("/proc/{pid}/cwd"))
                .map_or(cfg!(target_os = "linux"), |cwd| cwd != self.data);
            if alive && !elsewhere {
                return Err(Error::DirectoryInUse {
                    dir: self.data.clone(),
                    holder: port::describe_process(pid),
                });
            }
        }
        fs::remove_file(&note).attempt(|| format!("cannot remove {}", note.display()))
    }

    fn write_settings(&self) -> Result<(), Error> {
        let file = self.data.join("postgresql.conf");
        let failed = || format!("cannot write {}", file.display());
        fs::write(&file, SETTINGS).attempt(failed)?;
        // The server's user reads it; the directory around it is closed to all others.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).attempt(failed)
    }
}

fn unflushed_mark(data: &Path) -> PathBuf {
    data.with_extension("unflushed")
}

/// One call for the whole file system takes a tenth of the time of one per file.
fn flush(data: &Path) -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    nix::unistd::syncfs(fs::File::open(data)?)?;
    #[cfg(not(target_os = "linux"))]
    nix::unistd::sync();
    Ok(())
}

async fn launch(
    binaries: &Binaries,
    config: &PostgresConfig,
    cluster: &Cluster,
    port: u16,
) -> Result<Process, Error> {
    let installation = cluster.installation(binaries)?;
    cluster.require_unused()?;
    port::require_free(port)?;
    cluster.write_settings()?;
    let (data, handed_over) = cluster.reach(&cluster.data)?;
    let mut arguments: Vec<OsString> = vec![
        "-D".into(),
        data.into(),
        "-p".into(),
        port.to_string().into(),
    ];
    let mut settings: Vec<(&str, &str)> = Vec::new();
    if cfg!(target_os = "linux") {
        // Recovery after a crash flushes every file first: one call for all of them, where the system has it.
        settings.push(("recovery_init_sync_method", "syncfs"));
    }
    if !config.is_durable {
        settings
            .extend(["fsync", "full_page_writes", "synchronous_commit"].map(|name| (name, "off")));
    }
    let chosen = config
        .settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in settings.into_iter().chain(chosen) {
        arguments.extend(["-c".into(), format!("{name}={value}").into()]);
    }
    let plan = cluster.plan(installation, "postgres", arguments, handed_over);
    let process = Process::start(plan, "database system is ready to accept connections")?;
    process
        .ready(START_PATIENCE)
        .await
        .map_err(|error| port::or_taken(error, port))?;
    Ok(process)
}

fn server_user() -> Result<Account, Error> {
    let known = SERVER_USERS
        .iter()
        .find_map(|name| User::from_name(name).ok().flatten());
    known
        .map(|user| Account {
            user: user.uid.as_raw(),
            group: user.gid.as_raw(),
        })
        .ok_or(Error::Missing {
            program: "a user for PostgreSQL, which refuses to run as root",
            remedy: "add a user `postgres`",
        })
}

fn account(uid: Uid, dir: &Path) -> Result<Account, Error> {
    let user = User::from_uid(uid).ok().flatten();
    let group = user.map(|user| user.gid.as_raw());
    let group = group.or_else(|| {
        use std::os::unix::fs::MetadataExt as _;
        fs::metadata(dir).map(|found| found.gid()).ok()
    });
    group
        .map(|group| Account {
            user: uid.as_raw(),
            group,
        })
        .ok_or_else(|| Error::DirectoryForeign {
            dir: dir.to_path_buf(),
            owner: uid.to_string(),
        })
}

/// Runs a short blocking task on a thread of its own, on any runtime.
async fn blocking<T: Send + 'static>(task: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(task)
        .await
        .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
