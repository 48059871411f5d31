//! The projector stopped between any two of its steps: killed there (LED-12), or woken after another one took over (LED-13).

use std::{collections::HashSet, path::Path, process::Command, time::Duration};

use logline_bus::{Filter, Start, Subject, Tail};
use logline_projector::Step;
use logline_span::SpanId;
use logline_testkit::deadline;
use serde_json::{Value, json};

use crate::{
    process::run,
    system::{Part, System, outgoing},
};

/// Spans of each publishing.
const SPANS: u64 = 12;
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_any_two_steps_it_seals_everything_once() {
    let mut trial = Trial::start().await;
    for step in Step::ALL {
        let mut first = trial.part(Some(step));
        trial.publish().await;
        deadline(PATIENCE, first.stopped()).await;
        trial.publish().await;
        first.kill();
        let mut second = trial.part(None);
        trial.settle(step).await;
        second.end().await;
    }
    trial.conclude();
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_between_any_two_steps_it_is_fenced_when_it_wakes() {
    let mut trial = Trial::start().await;
    for step in Step::ALL {
        let mut first = trial.part(Some(step));
        trial.publish().await;
        deadline(PATIENCE, first.stopped()).await;
        let mut second = trial.part(None);
        trial.publish().await;
        trial.settle(step).await;
        // What it was about to do is done.
        first.thaw();
        trial.publish().await;
        trial.settle(step).await;
        first.end().await;
        second.end().await;
    }
    trial.conclude();
}

struct Trial {
    system: System,
    tail: Tail,
    /// Messages of the timeline that were read.
    last: u64,
    waiting: HashSet<SpanId>,
    refused: u64,
}

impl Trial {
    async fn start() -> Self {
        let system = System::start_with("[projector]\ntake_over_ms = 1000\n").await;
        let tail = system.bus.tail(vec![Filter::timeline()], Start::After(0));
        let tail = tail.await.unwrap();
        Self {
            system,
            tail,
            last: 0,
            waiting: HashSet::new(),
            refused: 0,
        }
    }

    fn directory(&self) -> &Path {
        self.system.directory.path()
    }

    fn part(&self, stop_at: Option<Step>) -> Part {
        Part::start_until(self.directory(), "projector", stop_at.map(Step::name))
    }

    /// Spans of two tenants, and a message that is none.
    async fn publish(&mut self) {
        let bus = &self.system.bus;
        for n in 0..SPANS {
            let tenant = if n % 2 == 0 { "even" } else { "odd" };
            let id = SpanId::from_uuid(uuid::Uuid::now_v7());
            let span = json!({"id": id.to_string(), "who": "p", "this": n.to_string()});
            let body = outgoing(&span.to_string());
            bus.publish(&address(tenant), body).await.unwrap();
            self.waiting.insert(id);
        }
        bus.publish(&address("even"), outgoing("no span"))
            .await
            .unwrap();
        self.refused += 1;
    }

    /// Waits until everything that was published is sealed, each span once.
    async fn settle(&mut self, step: Step) {
        while !self.waiting.is_empty() {
            let next = tokio::time::timeout(PATIENCE, self.tail.next()).await;
            let Ok(next) = next else {
                panic!("{step:?}: {} spans are not sealed", self.waiting.len());
            };
            let (number, sealed) = next.unwrap();
            assert_eq!(number, self.last + 1, "{step:?}");
            self.last = number;
            let id = sealed.span.id;
            assert!(self.waiting.remove(&id), "{step:?}: sealed twice: {id}");
        }
    }

    fn conclude(&self) {
        let verified = run(self.directory(), &["verify", "--config", "logline.toml"]);
        let report: Value = serde_json::from_slice(&verified.stdout).unwrap();
        assert_eq!(report["ok"], true, "{report}");
        assert_eq!(report["checked"].as_u64().unwrap(), self.last);
        let info = Command::new(logline_testkit::nats_cli())
            .args(["--server", &self.system.nats.url()])
            .args(["stream", "info", "QUARANTINE", "--json"])
            .output()
            .unwrap();
        let info: Value = serde_json::from_slice(&info.stdout).unwrap();
        assert_eq!(
            info["state"]["messages"], self.refused,
            "each refusal is kept once"
        );
    }
}

fn address(tenant: &str) -> Subject {
    Subject::ingest(
        &tenant.parse().unwrap(),
        &"p".parse().unwrap(),
        &"activity".parse().unwrap(),
    )
}
