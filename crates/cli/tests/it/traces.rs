//! One trace from a client's publish to the execution that it led to (OBS-1).

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::process::{Stack, answer};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// The batch exporter sends every five seconds.
const EXPORT_MAX: Duration = Duration::from_secs(40);

/// An OTLP/HTTP collector that hands over the bodies it is sent.
fn collector() -> (String, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (bodies, received) = mpsc::channel();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let bodies = bodies.clone();
            std::thread::spawn(move || serve(connection, &bodies));
        }
    });
    (endpoint, received)
}

/// Answers every request of a connection; returns when it closes.
fn serve(mut connection: TcpStream, bodies: &mpsc::Sender<Vec<u8>>) {
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        connection
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .unwrap();
        let _ = bodies.send(body);
    }
}

fn contains(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}

#[test]
fn a_trace_goes_from_the_client_to_the_execution_and_to_the_collector() {
    let (endpoint, received) = collector();
    let directory = tempfile::tempdir().unwrap();
    let stack = Stack::start_with(
        directory.path(),
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("LOGLINE_LOG_FILTER", "warn"),
        ],
    );
    let function = r#"{"entity_type":"function","who":"me","this":"f","status":"scheduled","language":"javascript","code":"export async function main() { return 1 }"}"#;
    let response = ureq::post(format!("{}/api/spans", stack.address("api")))
        .header(
            "authorization",
            format!("Bearer {}", stack.address("token")),
        )
        .header("content-type", "application/json")
        .header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"))
        .send(function)
        .unwrap();
    assert_eq!(response.status(), 200);
    let spans = answer(
        directory.path(),
        &["tail", "--after", "0", "--count", "3", "--output", "ndjson"],
    );
    let traces: Vec<(String, String)> = spans
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|span| {
            (
                span["entity_type"].as_str().unwrap().to_owned(),
                span["trace_id"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    let expected = ["function", "request", "execution"]
        .map(|entity_type| (entity_type.to_owned(), TRACE.to_owned()));
    assert_eq!(traces, expected);

    let id: Vec<u8> = (0..TRACE.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&TRACE[at..at + 2], 16).unwrap())
        .collect();
    let mut wanted = vec!["POST /api/spans", "process timeline"];
    let deadline = Instant::now() + EXPORT_MAX;
    while !wanted.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        let body = received
            .recv_timeout(left)
            .unwrap_or_else(|_| panic!("the collector was never sent {wanted:?}"));
        if contains(&body, &id) {
            wanted.retain(|name| !contains(&body, name.as_bytes()));
        }
    }
    stack.stop();
}
