//! An idle signer asks nothing (EXE-6).

use std::time::Duration;

use logline_signer::Health;
use logline_testkit::deadline;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{PATIENCE, World};

/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(5);
/// A pull that runs out, its renewal, a sign of life, and the pings of the connections.
const MESSAGES_MAX: u64 = 6;

/// Messages in and out so far, by the server's own count.
async fn messages(port: u16) -> u64 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = b"GET /varz HTTP/1.0\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let count = |name: &str| -> u64 {
        let (_, rest) = body.split_once(&format!("\"{name}\":")).unwrap();
        let digits = rest.trim_start().split(|c: char| !c.is_ascii_digit());
        digits.into_iter().next().unwrap().parse().unwrap()
    };
    count("in_msgs") + count("out_msgs")
}

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::disallowed_methods,
    reason = "nothing happens, and that is what is measured"
)]
async fn an_idle_signer_is_silent() {
    let world = World::new().await;
    let projector = world.projector();
    let (_signer, mut health) = world.watched_signer().await;
    let active = health.wait_for(|health| *health == Health::Active);
    deadline(PATIENCE, active).await.unwrap();
    world.seal("acme", "").await;
    world.signed("acme", 1).await;
    // A projector renews its pin, which is its own affair.
    projector.stop().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let statements = "select coalesce(max(query_start)::text, '') || max(state_change)::text from pg_stat_activity \
                      where usename = 'logline_signer' and datname = current_database() and application_name = 'test'";
    let (asked, before) = (world.sql(statements), messages(world.monitor).await);
    tokio::time::sleep(WATCHED).await;
    let spent = messages(world.monitor).await - before;
    println!("idle: {spent} messages in {WATCHED:?}");
    assert!(spent <= MESSAGES_MAX, "{spent} messages in {WATCHED:?}");
    assert_eq!(world.sql(statements), asked, "no statement of its own");
}
