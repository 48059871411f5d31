use std::net::SocketAddr;

use axum::routing::get;
use logline_testkit::deadline;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use super::*;

/// More than the buffers of both ends hold.
const LARGE_BYTES: usize = 64 << 20;

async fn ask(addr: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_peer_that_does_not_read_its_answer_loses_its_connection() {
    let router = Router::new()
        .route("/large", get(|| async { vec![b'x'; LARGE_BYTES] }))
        .route("/small", get(|| async { "small" }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let limits = Limits {
        connections_max: 1,
        connections_per_address_max: 1,
        write_stall: Duration::from_millis(300),
        drain: Duration::from_secs(5),
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(listener, router, limits, CancellationToken::new()));

    let _silent = ask(addr, "/large").await;
    let mut next = ask(addr, "/small").await;
    let mut answer = String::new();
    deadline(Duration::from_secs(20), next.read_to_string(&mut answer))
        .await
        .unwrap();
    assert!(answer.ends_with("small"), "{answer}");

    let mut slow = ask(addr, "/large").await;
    let mut read = 0;
    let mut buffer = vec![0; 1 << 20];
    deadline(Duration::from_secs(60), async {
        loop {
            match slow.read(&mut buffer).await.unwrap() {
                0 => break,
                bytes => read += bytes,
            }
        }
    })
    .await;
    assert!(read > LARGE_BYTES, "who reads gets everything: {read}");
}
