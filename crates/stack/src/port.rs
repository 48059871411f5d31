use std::{
    fs,
    hash::{BuildHasher, RandomState},
    net::{Ipv4Addr, TcpListener},
    path::Path,
};

use crate::{Error, error::Attempt};

/// Below every system's range for outgoing connections: there a client that retries a dead port may be given that
/// very port as its own, talk to itself and keep the server from coming back.
const FREE_PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Two processes may pick the same free port; the second one picks again.
const ATTEMPTS: usize = 5;

/// A loopback port that nobody listens on at this moment.
pub fn free_port() -> Result<u16, Error> {
    let width = u64::from(FREE_PORTS.end - FREE_PORTS.start);
    let start = RandomState::new().hash_one(std::process::id());
    let mut refusal = None;
    for step in 0..width {
        let offset = u16::try_from(start.wrapping_add(step) % width).unwrap_or_default();
        match TcpListener::bind((Ipv4Addr::LOCALHOST, FREE_PORTS.start + offset)) {
            Ok(_) => return Ok(FREE_PORTS.start + offset),
            Err(error) => refusal = Some(error),
        }
    }
    Err(refusal.unwrap_or_else(|| std::io::ErrorKind::AddrInUse.into()))
        .attempt(|| "cannot find a free loopback port".to_owned())
}

/// Starts something on the wanted port, or, where that is 0, on a free one.
pub(crate) async fn on_port<T, F>(wanted: u16, start: impl Fn(u16) -> F) -> Result<(u16, T), Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut attempt = 1;
    loop {
        let port = if wanted == 0 { free_port()? } else { wanted };
        match start(port).await {
            Err(Error::PortTaken { .. }) if wanted == 0 && attempt < ATTEMPTS => attempt += 1,
            other => return other.map(|started| (port, started)),
        }
    }
}

/// Refuses when somebody listens on the port, and says who.
pub(crate) fn require_free(port: u16) -> Result<(), Error> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(Error::PortTaken {
            port,
            holder: port_holder(port).unwrap_or_else(|| "another process".to_owned()),
        }),
        Err(error) => Err(error).attempt(|| format!("cannot listen on 127.0.0.1:{port}")),
    }
}

/// Tells a server that lost the race for its port from one that failed by itself.
pub(crate) fn or_taken(error: Error, port: u16) -> Error {
    match error {
        Error::NotReady { .. } => require_free(port).err().unwrap_or(error),
        other => other,
    }
}

/// Who listens on a TCP port of this machine: command and process id, where `/proc` tells.
pub fn port_holder(port: u16) -> Option<String> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening_inodes(&table, port))
        .collect();
    let wanted: Vec<String> = inodes
        .iter()
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Ok(pid) = process.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let mut targets = descriptors
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok());
        if targets.any(|target| wanted.iter().any(|socket| target == Path::new(socket))) {
            return Some(describe_process(pid));
        }
    }
    None
}

/// `nats-server -p 4222 (pid 812)`, or the process id alone where the command cannot be read.
pub(crate) fn describe_process(pid: i32) -> String {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = command
        .split(|byte| *byte == 0)
        .take(4)
        .map(String::from_utf8_lossy)
        .collect();
    let command = words.join(" ");
    match command.trim() {
        "" => format!("process {pid}"),
        command => format!("`{command}` (pid {pid})"),
    }
}

/// The inodes of listening sockets in a table of the form of `/proc/net/tcp`.
fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let suffix = format!(":{port:04X}");
    let rows = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter_map(|row| match row.as_slice() {
        [_, local, _, state, _, _, _, _, _, inode, ..]
            if *state == LISTEN && local.ends_with(&suffix) =>
        {
            Some((*inode).to_owned())
        }
        _ => None,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_names_its_holder() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = require_free(port).unwrap_err().to_string();
        assert!(error.contains(&port.to_string()), "{error}");
        if cfg!(target_os = "linux") {
            assert!(
                error.contains(&format!("pid {}", std::process::id())),
                "{error}"
            );
        }
    }

    #[test]
    fn a_free_port_can_be_listened_on() {
        let port = free_port().unwrap();
        assert!(FREE_PORTS.contains(&port));
        require_free(port).unwrap();
    }
}
