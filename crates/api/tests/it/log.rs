use std::{
    fmt::{Debug, Write as _},
    sync::{Mutex, Once},
};

use logline_testkit::deadline;
use serde_json::json;
use tokio::sync::Notify;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::{
    client::Answer,
    world::{PATIENCE, World},
};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
static WRITTEN: Notify = Notify::const_new();

/// Keeps the fields of what the API logs about requests.
struct Lines;

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target() == "logline_api::access"
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        LINES.lock().unwrap().push(fields.0);
        WRITTEN.notify_waiters();
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

/// Waits for the line: it is written after the last byte was sent.
async fn line_of(answer: &Answer) -> String {
    let request_id = answer.header("x-request-id");
    let written = async {
        loop {
            let next = WRITTEN.notified();
            let lines = LINES.lock().unwrap().clone();
            let found: Vec<_> = lines
                .into_iter()
                .filter(|line| line.contains(request_id))
                .collect();
            match <[String; 1]>::try_from(found) {
                Ok([line]) => return line,
                Err(none) => assert!(none.is_empty(), "one line a request: {none:?}"),
            }
            next.await;
        }
    };
    deadline(PATIENCE, written).await
}

/// API-5, OBS-3: what is logged says how a request went, and nothing of what it held.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_one_line_without_content() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| tracing::subscriber::set_global_default(Lines).unwrap());
    let world = World::new().await;
    let alice = world.alice();
    let span = json!({"entity_type": "note", "who": "ann", "this": "confidential"});
    let sealed = alice.publish(&span).await;
    let line = line_of(&sealed).await;
    for part in [
        "method=\"POST\"",
        "route=\"/api/spans\"",
        "status=200",
        "duration_us=",
        "trace_id=",
    ] {
        assert!(line.contains(part), "no {part} in {line}");
    }
    assert!(
        line.contains(&format!("length={}", sealed.text.len())),
        "{line}"
    );
    assert!(!line.contains("error_code"), "{line}");
    let missing = alice
        .get("/api/spans/0190f3c8-7d2e-7cc3-98c5-dc0c0c07398f?seq=3")
        .await;
    let line = line_of(&missing).await;
    assert!(line.contains("error_code=\"not_found\""), "{line}");
    assert!(line.contains("route=\"/api/spans/{id}\""), "{line}");
    let nowhere = alice.get("/confidential").await;
    assert!(line_of(&nowhere).await.contains("route=\"none\""));
    let all = LINES.lock().unwrap().concat();
    assert!(
        !all.contains("confidential") && !all.contains("alice's"),
        "{all}"
    );
}
