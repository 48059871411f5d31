//! An HTTP client that shows everything: status, headers, bytes, frames.

use std::net::SocketAddr;

use axum::{
    body::{self, Body, BodyDataStream},
    http::{HeaderMap, Method, Request, Response},
};
use futures_util::StreamExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use logline_testkit::deadline;
use serde_json::Value;
use tokio::{net::TcpStream, task::JoinSet};

use crate::world::PATIENCE;

/// One caller of the API.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) addr: SocketAddr,
    pub(crate) token: Option<String>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
    pub(crate) text: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {:?}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap())
            .unwrap_or_default()
    }

    /// Status, code and pointer of a problem document.
    #[track_caller]
    pub(crate) fn problem(&self) -> String {
        let problem = self.json();
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(problem["status"], self.status);
        assert_eq!(problem["trace_id"].as_str().unwrap().len(), 32);
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        format!(
            "{} {} {}",
            self.status,
            problem["code"].as_str().unwrap(),
            problem["pointer"].as_str().unwrap()
        )
        .trim_end()
        .to_owned()
    }
}

impl Client {
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path), Body::empty())
            .await
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        content_type: &str,
        body: impl Into<Body>,
    ) -> Answer {
        let request = self
            .request(Method::POST, path)
            .header("content-type", content_type);
        self.send(request, body.into()).await
    }

    pub(crate) async fn publish(&self, body: &Value) -> Answer {
        self.post("/api/spans", "application/json", body.to_string())
            .await
    }

    /// Publishes and takes the receipt of a sealed span.
    #[track_caller]
    pub(crate) fn seal(&self, body: &Value) -> impl Future<Output = Value> {
        let caller = std::panic::Location::caller();
        async move {
            let answer = self.publish(body).await;
            assert_eq!(answer.status, 200, "at {caller}: {}", answer.text);
            answer.json()
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> axum::http::request::Builder {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "logline.test");
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    pub(crate) async fn send(&self, request: axum::http::request::Builder, body: Body) -> Answer {
        let (response, _connection) = self.open(request.body(body).unwrap()).await;
        let (head, body) = response.into_parts();
        let bytes = deadline(PATIENCE, body::to_bytes(body, usize::MAX))
            .await
            .unwrap();
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            text: String::from_utf8_lossy(&bytes).into_owned(),
            bytes: bytes.to_vec(),
        }
    }

    /// Opens an event stream.
    pub(crate) async fn follow(&self, path: &str, last_event_id: Option<&str>) -> Events {
        let mut request = self.request(Method::GET, path);
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let (response, connection) = self.open(request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let frames = response.into_body().into_data_stream();
        Events {
            frames,
            text: String::new(),
            id: String::new(),
            _connection: connection,
        }
    }

    /// The status alone, also of a stream, which is closed at once.
    pub(crate) async fn status(&self, path: &str) -> u16 {
        let request = self.request(Method::GET, path).body(Body::empty()).unwrap();
        self.open(request).await.0.status().as_u16()
    }

    /// Whether a connection is kept open long enough to be answered.
    pub(crate) async fn connect(&self) -> Option<u16> {
        let stream = TcpStream::connect(self.addr).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let _ = connection.await;
        });
        let request = self.request(Method::GET, "/healthz");
        let request = request.body(Body::empty()).unwrap();
        let response = deadline(PATIENCE, sender.send_request(request)).await;
        Some(response.ok()?.status().as_u16())
    }

    async fn open(&self, request: Request<Body>) -> (Response<Body>, JoinSet<()>) {
        let stream = TcpStream::connect(self.addr).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // An answer may come before the whole body is sent: then the connection ends with an error.
            let _ = connection.await;
        });
        let response = deadline(PATIENCE, sender.send_request(request))
            .await
            .unwrap();
        (response.map(Body::new), tasks)
    }
}

/// An open event stream. Dropping it closes the connection.
pub(crate) struct Events {
    frames: BodyDataStream,
    text: String,
    /// The last event id, as a browser would keep it.
    pub(crate) id: String,
    _connection: JoinSet<()>,
}

/// One frame: `event`, `data`; a comment is an event `:`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) event: String,
    pub(crate) data: String,
}

impl Events {
    /// The next event or comment; none at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            let Some((frame, rest)) = self.text.split_once("\n\n") else {
                let bytes = deadline(PATIENCE, self.frames.next()).await?.ok()?;
                self.text.push_str(std::str::from_utf8(&bytes).unwrap());
                continue;
            };
            let (frame, rest) = (frame.to_owned(), rest.to_owned());
            self.text = rest;
            let mut event = Event::default();
            for line in frame.lines() {
                match line.split_once(": ").unwrap() {
                    ("", comment) => {
                        event = Event {
                            event: ":".to_owned(),
                            data: comment.to_owned(),
                        }
                    }
                    ("event", name) => name.clone_into(&mut event.event),
                    ("data", data) => data.clone_into(&mut event.data),
                    ("id", id) => id.clone_into(&mut self.id),
                    ("retry", _) => {}
                    other => panic!("{other:?}"),
                }
            }
            if !event.event.is_empty() {
                return Some(event);
            }
        }
    }

    /// The next span.
    pub(crate) async fn span(&mut self) -> Value {
        loop {
            let event = self.next().await.expect("the stream ended");
            match event.event.as_str() {
                "span" => return serde_json::from_str(&event.data).unwrap(),
                ":" => {}
                _ => panic!("{event:?}"),
            }
        }
    }

    /// Reads on to the end and gives the reason of the end frame.
    pub(crate) async fn end(&mut self) -> String {
        let mut reason = String::new();
        while let Some(event) = self.next().await {
            if event.event == "end" {
                let data: Value = serde_json::from_str(&event.data).unwrap();
                data["reason"].as_str().unwrap().clone_into(&mut reason);
            }
        }
        reason
    }
}
