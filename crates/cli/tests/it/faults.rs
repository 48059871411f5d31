//! Random kills under load: nothing that was promised is lost, nothing happens twice (LED-12, LED-13, EXE-7).
//!
//! `LOGLINE_FAULTS_RUNS` sets the number of kills and `LOGLINE_FAULTS_SEED` their order; `cargo xtask faults` does both.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use logline_bus::{Answer, Bus, Filter, Receipt, Start, Subject, Tail};
use logline_span::{Sealed, SpanId};
use logline_testkit::deadline;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    process::run,
    system::{Part, System, outgoing},
};

/// Kills in the suite; the long run has more.
const KILLS: u64 = 6;
/// Publishers at work at the same time.
const PUBLISHERS: u64 = 8;
/// Receipts between two kills, so that every kill hits a system at work.
const RECEIPTS_BETWEEN_KILLS: u64 = 60;
/// Every so many spans is a scheduled function.
const FUNCTION_EVERY: u64 = 10;
/// How long a publisher waits for a receipt before it asks again.
const PATIENCE: Duration = Duration::from_secs(3);
/// Recovery from any kill takes far less.
const RECOVERY_MAX: Duration = Duration::from_secs(120);

/// What the publishers were promised.
#[derive(Default)]
struct Promised {
    receipts: HashMap<SpanId, u64>,
    functions: HashSet<SpanId>,
}

#[tokio::test(flavor = "multi_thread")]
async fn random_kills_lose_nothing_and_double_nothing() {
    let number = |name: &str, default: u64| {
        std::env::var(name)
            .ok()
            .map_or(default, |text| text.parse().unwrap())
    };
    let (kills, seed) = (
        number("LOGLINE_FAULTS_RUNS", KILLS),
        number("LOGLINE_FAULTS_SEED", 1),
    );
    let system = System::start().await;
    let System {
        directory,
        postgres,
        nats,
        bus,
    } = &system;
    let mut parts = [
        Part::start(directory.path(), "projector"),
        Part::start(directory.path(), "observer,worker"),
    ];

    let (stop, received) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let mut publishers = JoinSet::new();
    for publisher in 0..PUBLISHERS {
        publishers.spawn(publish(
            bus.clone(),
            publisher,
            Arc::clone(&stop),
            Arc::clone(&received),
        ));
    }
    let mut random = StdRng::seed_from_u64(seed);
    for kill in 0..kills {
        let wanted = received.load(Ordering::Relaxed) + RECEIPTS_BETWEEN_KILLS;
        deadline(RECOVERY_MAX, reach(&received, wanted)).await;
        match random.random_range(0..4) {
            0 => {
                nats.kill().await;
                nats.restart().await.unwrap();
            }
            1 => {
                postgres.kill().await;
                postgres.restart().await.unwrap();
            }
            part => {
                let part = &mut parts[part - 2];
                part.kill();
                *part = Part::start(directory.path(), part.roles);
            }
        }
        println!(
            "kill {} of {kills}: {} receipts",
            kill + 1,
            received.load(Ordering::Relaxed)
        );
    }
    stop.store(true, Ordering::Relaxed);
    let mut promised = Promised::default();
    while let Some(ended) = deadline(RECOVERY_MAX, publishers.join_next()).await {
        let one = ended.unwrap();
        promised.receipts.extend(one.receipts);
        promised.functions.extend(one.functions);
    }
    let mut tail = bus
        .tail(vec![Filter::timeline()], Start::After(0))
        .await
        .unwrap();
    let mut timeline = Vec::new();
    deadline(
        RECOVERY_MAX,
        read_promised(&mut tail, &mut timeline, &promised),
    )
    .await;
    // With the actors gone nothing follows the marker, so what was done twice lies before it.
    parts[1].kill();
    let marker = Subject::ingest(
        &"t0".parse().unwrap(),
        &"p0".parse().unwrap(),
        &"marker".parse().unwrap(),
    );
    receipt(bus, &marker, r#"{"who":"faults","this":"end"}"#).await;
    deadline(RECOVERY_MAX, async {
        while timeline
            .last()
            .is_none_or(|last: &Sealed| last.span.entity_type.as_str() != "marker")
        {
            read_one(&mut tail, &mut timeline).await;
        }
    })
    .await;
    check(&promised, &timeline);

    let verified = run(directory.path(), &["verify", "--config", "logline.toml"]);
    let report: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!(report["ok"], true, "{report}");
    assert_eq!(report["checked"].as_u64().unwrap(), timeline.len() as u64);
    println!(
        "{kills} kills, seed {seed}: {} receipts, {} spans, {} functions",
        promised.receipts.len(),
        timeline.len(),
        promised.functions.len()
    );
}

/// Waits until so many receipts are there.
async fn reach(received: &AtomicU64, wanted: u64) {
    while received.load(Ordering::Relaxed) < wanted {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Publishes spans one after the other, each again and again until its receipt is there.
async fn publish(
    bus: Bus,
    publisher: u64,
    stop: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
) -> Promised {
    let mut promised = Promised::default();
    let tenant = format!("t{}", publisher % 3).parse().unwrap();
    let principal = format!("p{publisher}").parse().unwrap();
    for number in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = SpanId::from_uuid(uuid::Uuid::now_v7());
        let is_function = number % FUNCTION_EVERY == 0;
        let entity_type = if is_function { "function" } else { "activity" };
        let mut span =
            json!({"id": id.to_string(), "who": "faults", "this": format!("{publisher}/{number}")});
        if is_function {
            span["status"] = "scheduled".into();
            span["language"] = "javascript".into();
            span["code"] = "export async function main(ctx) { return ctx.span.id }".into();
            promised.functions.insert(id);
        }
        let subject = Subject::ingest(&tenant, &principal, &entity_type.parse().unwrap());
        let position = receipt(&bus, &subject, &span.to_string()).await;
        promised.receipts.insert(id, position);
        received.fetch_add(1, Ordering::Relaxed);
    }
    promised
}

async fn receipt(bus: &Bus, subject: &Subject, body: &str) -> u64 {
    loop {
        match bus.publish_sealed(subject, outgoing(body), PATIENCE).await {
            Ok(Answer::Receipt(Receipt::Sealed { position, .. })) => return position.get(),
            Ok(Answer::Receipt(Receipt::Refused(refusal))) => panic!("refused: {refusal}"),
            Ok(Answer::Pending { .. }) => {}
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Reads until everything promised, and every execution, has come by.
async fn read_promised(tail: &mut Tail, timeline: &mut Vec<Sealed>, promised: &Promised) {
    let mut waiting: HashSet<SpanId> = promised.receipts.keys().copied().collect();
    let mut executing = promised.functions.clone();
    while !waiting.is_empty() || !executing.is_empty() {
        let span = &read_one(tail, timeline).await.span;
        waiting.remove(&span.id);
        if span.entity_type.as_str() == "execution" {
            executing.remove(&span.parent_id.unwrap());
        }
    }
}

async fn read_one<'a>(tail: &mut Tail, timeline: &'a mut Vec<Sealed>) -> &'a Sealed {
    let (offset, sealed) = tail.next().await.unwrap();
    assert_eq!(
        offset,
        timeline.len() as u64 + 1,
        "LED-12: the n-th sealed span is message n"
    );
    timeline.push(sealed);
    timeline.last().unwrap()
}

fn check(promised: &Promised, timeline: &[Sealed]) {
    let mut positions: HashMap<&str, u64> = HashMap::new();
    let mut places: HashMap<SpanId, u64> = HashMap::new();
    let (mut requests, mut executions): (HashMap<SpanId, u64>, HashMap<SpanId, u64>) =
        (HashMap::new(), HashMap::new());
    for sealed in timeline {
        let last = positions.entry(sealed.span.tenant_id.as_str()).or_default();
        assert_eq!(sealed.position.get(), *last + 1, "no gap, no repetition");
        *last += 1;
        assert!(
            places
                .insert(sealed.span.id, sealed.position.get())
                .is_none(),
            "sealed twice: {}",
            sealed.span.id
        );
        match (sealed.span.entity_type.as_str(), sealed.span.parent_id) {
            ("request", Some(function)) => *requests.entry(function).or_default() += 1,
            ("execution", Some(function)) => {
                let output = sealed
                    .span
                    .output
                    .as_ref()
                    .map(|output| output.as_str().to_owned());
                assert_eq!(
                    output,
                    Some(format!("\"{function}\"")),
                    "what the function returns"
                );
                *executions.entry(function).or_default() += 1;
            }
            _ => {}
        }
    }
    for (id, position) in &promised.receipts {
        assert_eq!(
            places.get(id),
            Some(position),
            "a receipt that the ledger does not keep: {id}"
        );
    }
    for function in &promised.functions {
        assert_eq!(requests.get(function), Some(&1), "requests of {function}");
        assert_eq!(
            executions.get(function),
            Some(&1),
            "executions of {function}"
        );
    }
}
