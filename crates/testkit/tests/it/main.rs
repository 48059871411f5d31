//! The servers that tests get, seen from a test.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::{process::Command, time::Duration};

use logline_testkit::{Nats, Postgres, deadline, nats_cli, psql};

fn ask(url: &str, statement: &str) -> String {
    let output = Command::new(psql())
        .args(["--no-psqlrc", "-tAc", statement, url])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn every_test_has_a_database_of_its_own_and_it_goes_with_the_test() {
    let (one, two) = tokio::join!(Postgres::shared().database(), Postgres::shared().database());
    ask(&one.url(), "create table mine (a int)");
    assert_eq!(
        ask(
            &two.url(),
            "select count(*) from pg_tables where tablename = 'mine'"
        ),
        "0"
    );
    let name = one.name().to_owned();
    drop(one);
    assert_eq!(
        ask(
            &two.url(),
            &format!("select count(*) from pg_database where datname = '{name}'")
        ),
        "0"
    );
}

#[tokio::test]
async fn a_role_logs_in_with_its_own_password() {
    let database = Postgres::shared().database().await;
    ask(
        &database.url(),
        "create role testkit_reader login password 'open'",
    );
    assert_eq!(
        ask(
            &database.url_as("testkit_reader", "open"),
            "select current_user"
        ),
        "testkit_reader"
    );
    ask(&database.url(), "drop role testkit_reader");
}

#[tokio::test]
async fn a_stock_client_reaches_the_bus_and_jetstream_is_on() {
    let nats = Nats::start().await;
    let output = Command::new(nats_cli())
        .args(["--server", &nats.url(), "account", "info"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("JetStream"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
async fn a_deadline_fails_the_test_that_waits() {
    let mut waiting = tokio::task::JoinSet::new();
    waiting.spawn(deadline(
        Duration::from_millis(1),
        std::future::pending::<()>(),
    ));
    let failure = waiting.join_next().await.unwrap().unwrap_err().into_panic();
    let text = failure.downcast_ref::<String>().unwrap();
    assert!(
        text.contains("awaited at crates/testkit/tests/it/main.rs"),
        "{text}"
    );
}
