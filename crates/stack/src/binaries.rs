use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::Error;

/// The command that installs what is missing.
pub const SETUP_COMMAND: &str = "make setup";

/// Streams with message schedules need 2.12, their repeating form 2.14.
const NATS_SERVER_RELEASE_MIN: (u32, u32) = (2, 14);
/// The lowest release that the ledger is tested with.
const POSTGRES_RELEASE_MIN: u32 = 15;

pub(crate) const NO_POSTGRES: Error = Error::Missing {
    program: "PostgreSQL 15 or newer (initdb, postgres)",
    remedy: "install your system's `postgresql` server package",
};

/// Places beside `PATH` where systems keep PostgreSQL's server programs: a parent, and what is below each entry.
const POSTGRES_PARENTS: [(&str, &str, &str); 5] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/opt/homebrew/opt", "postgresql", "bin"),
    ("/usr/local/opt", "postgresql", "bin"),
    ("/Library/PostgreSQL", "", "bin"),
];

/// The server programs of this machine.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// Every usable PostgreSQL, the preferred one first.
    pub postgres: Vec<PostgresInstallation>,
    /// `nats-server`, recent enough.
    pub nats_server: PathBuf,
}

/// One PostgreSQL: a directory with `initdb` and `postgres`.
#[derive(Clone, Debug)]
pub struct PostgresInstallation {
    /// Major release.
    pub major: u32,
    /// The directory of its programs.
    pub bin: PathBuf,
}

impl Binaries {
    /// Looks on `PATH`, then where systems keep PostgreSQL, then where `make setup` puts what it fetches.
    pub fn locate() -> Result<Binaries, Error> {
        let postgres = installations();
        if postgres.is_empty() {
            return Err(NO_POSTGRES);
        }
        let nats_server = candidates("nats-server")
            .into_iter()
            .find(|program| {
                nats_release(program).is_some_and(|found| found >= NATS_SERVER_RELEASE_MIN)
            })
            .ok_or(Error::Missing {
                program: "nats-server 2.14 or newer",
                remedy: "install it from https://github.com/nats-io/nats-server/releases",
            })?;
        Ok(Binaries {
            postgres,
            nats_server,
        })
    }
}

/// A stock client (`nats`, `psql`) where this machine has one.
pub fn stock_client(name: &str) -> Option<PathBuf> {
    let beside_server = installations()
        .into_iter()
        .map(|found| found.bin.join(name));
    candidates(name)
        .into_iter()
        .chain(beside_server)
        .find(|program| program.is_file())
}

/// A program of the base system.
pub(crate) fn required(name: &'static str, remedy: &'static str) -> Result<PathBuf, Error> {
    let base = ["/usr/bin", "/bin", "/usr/local/bin"].map(|place| Path::new(place).join(name));
    let found = base
        .into_iter()
        .find(|program| program.is_file())
        .or_else(|| candidates(name).into_iter().next());
    found.ok_or(Error::Missing {
        program: name,
        remedy,
    })
}

fn installations() -> Vec<PostgresInstallation> {
    let mut known: Vec<PathBuf> = Vec::new();
    for (parent, prefix, below) in POSTGRES_PARENTS {
        let Ok(entries) = Path::new(parent).read_dir() else {
            continue;
        };
        let named = entries
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
        known.extend(named.map(|entry| entry.path().join(below)));
    }
    known.extend(tools_directory().map(|tools| tools.join("postgres/bin")));
    let mut known: Vec<_> = known.iter().filter_map(|bin| installation(bin)).collect();
    known.sort_by_key(|found| std::cmp::Reverse(found.major));

    let on_path: Vec<_> = search_path()
        .iter()
        .filter_map(|bin| installation(bin))
        .collect();
    on_path.into_iter().chain(known).collect()
}

fn installation(bin: &Path) -> Option<PostgresInstallation> {
    if !bin.join("initdb").is_file() || !bin.join("postgres").is_file() {
        return None;
    }
    // A link on PATH into the installation is followed: initdb looks for its own files beside itself.
    let real = bin.join("postgres").canonicalize().ok()?;
    let bin = real.parent()?.to_path_buf();
    let text = version_text(&bin.join("postgres"))?;
    let major = text.split_whitespace().find_map(|word| numbers(word).0)?;
    (major >= POSTGRES_RELEASE_MIN && bin.join("initdb").is_file())
        .then_some(PostgresInstallation { major, bin })
}

fn nats_release(program: &Path) -> Option<(u32, u32)> {
    let text = version_text(program)?;
    text.split_whitespace()
        .find_map(|word| match numbers(word.trim_start_matches('v')) {
            (Some(major), Some(minor)) => Some((major, minor)),
            _ => None,
        })
}

/// The first two numbers of `15.18`, `2.15.1` or `18rc1`.
fn numbers(word: &str) -> (Option<u32>, Option<u32>) {
    let mut parts = word
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().ok());
    (parts.next().flatten(), parts.next().flatten())
}

fn version_text(program: &Path) -> Option<String> {
    let output = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Where a program of this name may be, in the order of preference.
fn candidates(name: &str) -> Vec<PathBuf> {
    let mut places = search_path();
    places.extend(tools_directory().map(|tools| tools.join("bin")));
    places.extend(go_directory());
    places
        .into_iter()
        .map(|place| place.join(name))
        .filter(|program| program.is_file())
        .collect()
}

fn search_path() -> Vec<PathBuf> {
    variable("PATH")
        .map(|path| env::split_paths(&path).collect())
        .unwrap_or_default()
}

/// Where the set-up puts what it fetches: per user, outside every checkout.
fn tools_directory() -> Option<PathBuf> {
    let cache = variable("XDG_CACHE_HOME")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".cache")))?;
    Some(cache.join("logline/tools"))
}

/// Where `go install` puts programs when nothing else is said; many shells do not search it.
fn go_directory() -> Option<PathBuf> {
    Some(PathBuf::from(variable("HOME")?).join("go/bin"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "where programs are is a fact of the machine, not configuration"
)]
fn variable(name: &str) -> Option<std::ffi::OsString> {
    env::var_os(name)
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn release_numbers_are_read_from_every_form() {
        assert_eq!(numbers("15.18"), (Some(15), Some(18)));
        assert_eq!(numbers("2.15.1"), (Some(2), Some(15)));
        assert_eq!(numbers("18rc1").0, Some(18));
        assert_eq!(numbers("(PostgreSQL)"), (None, None));
    }
}
