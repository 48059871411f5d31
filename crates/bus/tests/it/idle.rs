//! An idle system costs at most 60 bus messages in ten seconds, renewals and heartbeats included.

use std::time::Duration;

use logline_bus::{ConsumerSpec, Filter, IntakeConfig, Start};
use logline_span::Limits;
use logline_testkit::Nats;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

use crate::support::migrated;

/// Messages in and out so far, by the server's own count.
async fn messages(port: u16) -> u64 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = b"GET /varz HTTP/1.0\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let varz: serde_json::Value = serde_json::from_str(body).unwrap();
    varz["in_msgs"].as_u64().unwrap() + varz["out_msgs"].as_u64().unwrap()
}

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "nothing happens, and that is what is measured"
)]
async fn an_idle_system_says_little() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let settings = format!("http: \"127.0.0.1:{port}\"\njetstream {{}}\n");
    let nats = Nats::start_with(settings).await;
    let bus = migrated(&nats).await;
    let take_over = Duration::from_secs(5);
    let spec = |durable, exclusive| ConsumerSpec {
        durable,
        filters: vec![Filter::timeline()],
        max_ack_pending: 64,
        ack_wait: Duration::from_secs(30),
        max_deliver: 10,
        backoff: Vec::new(),
        exclusive,
    };
    let mut intake = bus
        .intake(IntakeConfig {
            take_over,
            ack_wait: Duration::from_secs(5),
            max_ack_pending: 20_000,
            batch_max: 1000,
        })
        .await
        .unwrap();
    let mut observer = bus.consume(spec("test-observer", None)).await.unwrap();
    let mut worker = bus
        .consume(spec("test-worker", Some(take_over)))
        .await
        .unwrap();
    let mut timers = bus
        .due("test-timers", &"observer".parse().unwrap())
        .await
        .unwrap();
    let mut sse = bus.tail(vec![], Start::Latest).await.unwrap();
    let service = bus.serve_publish(Limits::STANDARD).await.unwrap();
    let shutdown = CancellationToken::new();

    let measured = async {
        // The first requests of all are under way after a second.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = messages(port).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        messages(port).await - before
    };
    let spent = tokio::select! {
        spent = measured => spent,
        it = intake.next(10, Duration::ZERO, 1) => panic!("{it:?}"),
        it = observer.next() => panic!("{it:?}"),
        it = worker.next() => panic!("{it:?}"),
        _ = timers.next() => panic!("a timer fired"),
        it = sse.next() => panic!("{it:?}"),
        () = service.run(shutdown.clone()) => panic!("the service ended"),
    };
    println!("idle: {spent} messages in ten seconds");
    assert!(spent <= 40, "{spent} messages in ten seconds");
}
