use std::{
    fs,
    io::{ErrorKind, Read as _},
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

use logline_stack::{Error, Nats};
use tempfile::TempDir;

use super::{ask, nats, postgres};

/// What the bus says to whoever connects.
fn greeting(nats: &Nats) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, nats.port()))?;
    stream.set_read_timeout(Some(Duration::from_millis(300)))?;
    let mut text = [0; 5];
    stream.read_exact(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test]
async fn data_survive_a_stop_a_crash_and_another_start() {
    let dir = TempDir::new().unwrap();
    let server = postgres(dir.path(), 0).await.unwrap();
    let url = server.superuser_url();
    ask(&url, "create table kept (a int)").unwrap();
    ask(&url, "insert into kept values (1)").unwrap();
    server.kill().await;
    assert!(ask(&url, "select 1").is_err());
    server.restart().await.unwrap();
    ask(&url, "insert into kept values (2)").unwrap();
    server.stop().await.unwrap();
    server.wait_exit().await;
    drop(server);
    let server = postgres(dir.path(), 0).await.unwrap();
    assert_eq!(
        ask(&server.superuser_url(), "select sum(a) from kept").unwrap(),
        "3"
    );
}

#[tokio::test]
async fn only_the_password_opens_the_cluster_and_commits_are_synchronous() {
    let dir = TempDir::new().unwrap();
    let server = postgres(dir.path(), 0).await.unwrap();
    let refusal = ask(&server.url("postgres", "another", "postgres"), "select 1").unwrap_err();
    assert!(
        refusal.contains("password authentication failed"),
        "{refusal}"
    );
    let settings = "select string_agg(setting, ' ' order by name) from pg_settings where name in
        ('fsync', 'full_page_writes', 'synchronous_commit', 'unix_socket_directories')";
    assert_eq!(
        ask(&server.superuser_url(), settings).unwrap().trim(),
        "on on on"
    );
}

#[tokio::test]
async fn nats_keeps_its_port_through_a_crash() {
    let dir = TempDir::new().unwrap();
    let server = nats(dir.path(), 0).await.unwrap();
    assert_eq!(greeting(&server).unwrap(), "INFO ");
    server.kill().await;
    assert_eq!(
        greeting(&server).unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
    server.restart().await.unwrap();
    assert_eq!(greeting(&server).unwrap(), "INFO ");
}

#[tokio::test]
async fn a_paused_server_answers_nobody_until_it_is_resumed() {
    let dir = TempDir::new().unwrap();
    let (bus, ledger) = tokio::join!(nats(dir.path(), 0), postgres(dir.path(), 0));
    let (bus, ledger) = (bus.unwrap(), ledger.unwrap());
    bus.pause();
    assert_eq!(greeting(&bus).unwrap_err().kind(), ErrorKind::WouldBlock);
    bus.resume();
    assert_eq!(greeting(&bus).unwrap(), "INFO ");
    ledger.pause();
    let impatient = format!("{}?connect_timeout=2", ledger.superuser_url());
    assert!(ask(&impatient, "select 1").unwrap_err().contains("timeout"));
    ledger.resume();
    assert_eq!(ask(&ledger.superuser_url(), "select 1").unwrap(), "1");
    ledger.pause();
    ledger.restart().await.unwrap();
    assert_eq!(ask(&ledger.superuser_url(), "select 1").unwrap(), "1");
}

#[tokio::test]
async fn a_directory_in_use_is_refused_with_its_holder() {
    let dir = TempDir::new().unwrap();
    let _first = nats(dir.path(), 0).await.unwrap();
    let error = nats(dir.path(), 0).await.unwrap_err();
    assert!(matches!(error, Error::DirectoryInUse { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains(&format!("pid {}", std::process::id())),
        "{error}"
    );
}

#[tokio::test]
async fn a_taken_port_is_refused_with_its_holder() {
    let dir = TempDir::new().unwrap();
    let bus = nats(dir.path(), 0).await.unwrap();
    let error = postgres(dir.path(), bus.port()).await.unwrap_err();
    assert!(matches!(error, Error::PortTaken { .. }), "{error}");
    assert!(error.to_string().contains("nats-server"), "{error}");
    assert!(
        error.to_string().contains(&format!("pid {}", bus.pid())),
        "{error}"
    );
}

#[tokio::test]
async fn a_stale_note_of_a_server_that_is_gone_does_not_stop_the_next_one() {
    let dir = TempDir::new().unwrap();
    drop(postgres(dir.path(), 0).await.unwrap());
    let note = dir.path().join("postgres/data/postmaster.pid");
    // A live process that has nothing to do with this directory: the id has come round again.
    fs::write(&note, format!("{}\n/elsewhere\n", std::process::id())).unwrap();
    postgres(dir.path(), 0).await.unwrap();
}

#[tokio::test]
async fn a_cluster_that_was_not_finished_is_made_again() {
    let dir = TempDir::new().unwrap();
    let unfinished = dir.path().join("postgres/data.unfinished");
    fs::create_dir_all(&unfinished).unwrap();
    fs::write(unfinished.join("PG_VERSION"), "15\n").unwrap();
    let server = postgres(dir.path(), 0).await.unwrap();
    assert_eq!(ask(&server.superuser_url(), "select 1").unwrap(), "1");
    assert!(!unfinished.exists());
}

#[tokio::test]
async fn a_new_cluster_works_before_it_is_flushed_and_the_mark_goes_when_it_is() {
    let dir = TempDir::new().unwrap();
    let server = postgres(dir.path(), 0).await.unwrap();
    let mark = dir.path().join("postgres/data.unflushed");
    assert_eq!(ask(&server.superuser_url(), "select 1").unwrap(), "1");
    server.settled().await;
    assert!(!mark.exists());
    drop(server);
    fs::write(&mark, "").unwrap();
    postgres(dir.path(), 0).await.unwrap().settled().await;
    assert!(!mark.exists());
}

#[tokio::test]
async fn a_server_that_cannot_start_says_its_last_words() {
    let dir = TempDir::new().unwrap();
    let config = logline_stack::NatsConfig {
        dir: dir.path().to_path_buf(),
        port: 0,
        name: "test".to_owned(),
        settings: "nonsense {".into(),
    };
    let error = Nats::start(super::binaries(), config)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("nats-server did not become ready") && error.contains("Parse error"),
        "{error}"
    );
}
