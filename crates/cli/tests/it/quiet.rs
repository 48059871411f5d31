//! An idle system does nothing (EXE-6).

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::process::Stack;

/// An idle session of Postgres reports what it did before up to so much later.
const SETTLED: Duration = Duration::from_secs(11);
/// How long the system is watched.
const WATCHED: Duration = Duration::from_secs(10);
/// Transactions of Postgres in that time at most, its own housekeeping included.
const TRANSACTIONS_MAX: i64 = 4;
/// Bus messages in that time at most, pull renewals and heartbeats included.
const MESSAGES_MAX: usize = 60;
/// Memory of all processes that no other shares.
const UNSHARED_BYTES_MAX: u64 = 150 << 20;

#[tokio::test]
async fn an_idle_system_is_quiet_and_small() {
    let directory = tempfile::tempdir().unwrap();
    let stack = Stack::start(directory.path());
    tokio::time::sleep(SETTLED).await;
    let listener = Listener::start(&stack);
    let before = transactions(&stack);
    tokio::time::sleep(WATCHED).await;
    let made = transactions(&stack) - before;
    let messages = listener.count();
    // The second look is one transaction itself.
    assert!(
        made <= TRANSACTIONS_MAX + 1,
        "{made} transactions in {WATCHED:?}"
    );
    assert!(
        messages > 0,
        "not even a pull was renewed: is anything counted?"
    );
    assert!(
        messages <= MESSAGES_MAX,
        "{messages} bus messages in {WATCHED:?}"
    );
    let unshared = unshared_bytes(stack.child.id());
    assert!(unshared > 8 << 20, "{unshared} bytes: is anything counted?");
    assert!(
        unshared <= UNSHARED_BYTES_MAX,
        "{} MiB unshared",
        unshared >> 20
    );
    stack.stop();
}

/// Transactions of every database.
fn transactions(stack: &Stack) -> i64 {
    let output = Command::new(logline_testkit::psql())
        .args([
            stack.address("postgres_admin"),
            "-XAtc",
            "select sum(xact_commit + xact_rollback)::bigint from pg_stat_database",
        ])
        .output()
        .unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

/// The stock client, subscribed to everything on the bus.
struct Listener(Child);

impl Listener {
    fn start(stack: &Stack) -> Self {
        let mut child = Command::new(logline_testkit::nats_cli())
            .args(["--server", stack.address("nats_admin"), "sub", ">"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut greeting = String::new();
        BufReader::new(child.stderr.as_mut().unwrap())
            .read_line(&mut greeting)
            .unwrap();
        assert!(greeting.contains("Subscribing on >"), "{greeting}");
        Self(child)
    }

    /// Ends it; how many messages it saw.
    fn count(mut self) -> usize {
        self.0.kill().unwrap();
        let mut text = String::new();
        self.0
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        self.0.wait().unwrap();
        text.lines().filter(|line| line.starts_with("[#")).count()
    }
}

fn unshared_bytes(root: u32) -> u64 {
    tree(root)
        .iter()
        .map(|pid| {
            // A process that has just ended holds nothing.
            let rollup =
                std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            let sum: u64 = rollup
                .lines()
                .filter(|line| {
                    line.starts_with("Private_Clean:") || line.starts_with("Private_Dirty:")
                })
                .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
                .sum();
            sum * 1024
        })
        .sum()
}

fn tree(root: u32) -> Vec<u32> {
    // A process that has just ended has no threads.
    let children = std::fs::read_dir(format!("/proc/{root}/task"))
        .into_iter()
        .flatten()
        .flatten()
        .flat_map(|task| {
            let children =
                std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            children
                .split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<u32>>()
        });
    std::iter::once(root)
        .chain(children.flat_map(tree))
        .collect()
}
