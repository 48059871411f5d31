use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    net::{Ipv4Addr, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{is_running, nats, postgres};

/// Tells the test below which directory to use, in the process that is to be killed.
const DIRECTORY: &str = "LOGLINE_STACK_TEST_DIRECTORY";
const IS_PAUSED: &str = "LOGLINE_STACK_TEST_IS_PAUSED";
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_killed_parent_leaves_no_server_behind() {
    assert_nothing_is_left(false);
}

#[test]
fn a_killed_parent_leaves_no_paused_server_behind() {
    assert_nothing_is_left(true);
}

/// Holds two servers until it is killed; does nothing when it runs as a test.
#[test]
fn holds_servers_until_it_is_killed() {
    #[expect(
        clippy::disallowed_methods,
        reason = "a message from the test that started this process"
    )]
    let (dir, is_paused) = (std::env::var(DIRECTORY), std::env::var(IS_PAUSED).is_ok());
    let Ok(dir) = dir else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        // Started from a thread of the pool, whose own end must not end the servers.
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            (
                nats(dir.as_ref(), 0).await.unwrap(),
                postgres(dir.as_ref(), 0).await.unwrap(),
            )
        });
        let (bus, ledger) = tasks.join_next().await.unwrap().unwrap();
        let _session = TcpStream::connect((Ipv4Addr::LOCALHOST, ledger.port())).unwrap();
        if is_paused {
            bus.pause();
            ledger.pause();
        }
        println!("\nready {} {} {}", bus.pid(), ledger.pid(), bus.port());
        std::future::pending::<()>().await;
    });
}

fn assert_nothing_is_left(is_paused: bool) {
    let dir = TempDir::new().unwrap();
    let (mut parent, pids) = parent_of_servers(&dir, is_paused);
    let mut family = pids.clone();
    family.extend(pids.iter().flat_map(|pid| children(*pid)));
    assert!(
        family.len() > pids.len() && family.iter().all(|pid| is_running(*pid)),
        "{family:?}"
    );

    parent.kill().unwrap();
    parent.wait().unwrap();
    let start = Instant::now();
    while family.iter().any(|pid| is_running(*pid)) {
        assert!(start.elapsed() < PATIENCE, "still running: {family:?}");
        std::thread::yield_now();
    }
}

fn parent_of_servers(dir: &TempDir, is_paused: bool) -> (Child, Vec<i32>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        "orphans::holds_servers_until_it_is_killed",
        "--nocapture",
    ]);
    command.env(DIRECTORY, dir.path()).stdout(Stdio::piped());
    if is_paused {
        command.env(IS_PAUSED, "1");
    }
    let mut parent = command.spawn().unwrap();
    let lines = BufReader::new(parent.stdout.as_mut().unwrap()).lines();
    let line = lines
        .map_while(Result::ok)
        .find(|line| line.starts_with("ready "))
        .unwrap();
    let mut numbers = line
        .split(' ')
        .skip(1)
        .map(|word| word.parse::<i32>().unwrap());
    let pids: Vec<i32> = numbers.by_ref().take(2).collect();
    if !is_paused {
        let port = u16::try_from(numbers.next().unwrap()).unwrap();
        let mut greeting = [0; 4];
        TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .unwrap()
            .read_exact(&mut greeting)
            .unwrap();
        assert_eq!(&greeting, b"INFO");
    }
    (parent, pids)
}

fn children(pid: i32) -> Vec<i32> {
    let lists = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let lists = lists.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .map(|pid| pid.parse().unwrap())
                .collect::<Vec<i32>>()
        })
        .collect()
}
