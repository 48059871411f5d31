//! Random faults under load: nothing that was promised is lost, nothing happens twice (LED-12, LED-13, EXE-7).
//!
//! A run has a seed and two faults, the second of which often begins before the first is over. `LOGLINE_FAULTS_RUNS` sets the
//! number of runs, `LOGLINE_FAULTS_SEED` the first one's seed, `LOGLINE_FAULTS_RECEIPTS` the receipts of each; `cargo xtask
//! faults` sets all of them.

#![expect(
    clippy::print_stdout,
    reason = "a long run tells what it did and what came of it"
)]

mod account;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use logline_bus::{Answer, Bus, Filter, Receipt, Start, Subject};
use logline_span::SpanId;
use logline_testkit::deadline;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinSet};

use self::account::{Account, Promise};
use crate::{
    process::run,
    system::{Part, System, outgoing},
};

/// Runs in the suite, and receipts of each; the long run has more.
const RUNS: u64 = 3;
const RECEIPTS: u64 = 120;
/// Publishers at work at the same time.
const PUBLISHERS: u64 = 16;
/// Every so many spans is a scheduled function.
const FUNCTION_EVERY: u64 = 10;
/// How long a publisher waits for a receipt before it asks again.
const PATIENCE: Duration = Duration::from_secs(3);
/// Recovery from any fault takes far less.
const RECOVERY_MAX: Duration = Duration::from_secs(120);
/// Silence after which another process takes over: the least that may be configured.
const TAKE_OVER_MS: u64 = 1000;
/// What runs: two of each, so that one can take over from the other.
const PARTS: [&str; 5] = [
    "projector",
    "projector",
    "observer,worker",
    "observer,worker",
    "signer",
];

/// What is done to a system at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    KillBus,
    KillPostgres,
    FreezeBus,
    FreezePostgres,
    /// An older copy of its store takes the place of what the bus keeps (LED-17).
    AgeBus,
    /// `kill -9`, then it is started again.
    Kill(usize),
    /// Stopped for longer than another one takes to take over, then woken: it must not write (LED-13).
    Freeze(usize),
    /// Asked to end, and started again.
    Restart(usize),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, whom) = match self {
            Self::KillBus => ("kill", "nats-server"),
            Self::KillPostgres => ("kill", "postgres"),
            Self::FreezeBus => ("freeze", "nats-server"),
            Self::FreezePostgres => ("freeze", "postgres"),
            Self::AgeBus => ("age", "nats-server"),
            Self::Kill(part) => ("kill", PARTS[*part]),
            Self::Freeze(part) => ("freeze", PARTS[*part]),
            Self::Restart(part) => ("restart", PARTS[*part]),
        };
        write!(f, "{verb} {whom}")
    }
}

impl Fault {
    fn draw(random: &mut StdRng) -> Self {
        let part = random.random_range(0..PARTS.len());
        match random.random_range(0..11) {
            0 => Self::KillBus,
            1 => Self::KillPostgres,
            2 => Self::FreezeBus,
            3 => Self::FreezePostgres,
            4..7 => Self::Kill(part),
            7..9 => Self::Freeze(part),
            9 => Self::AgeBus,
            _ => Self::Restart(part),
        }
    }

    /// Does it, and undoes it where it does not heal by itself.
    async fn strike(self, system: &System, parts: &[tokio::sync::Mutex<Part>], frozen: Duration) {
        let System {
            directory,
            postgres,
            nats,
            ..
        } = system;
        match self {
            Self::AgeBus => {
                let _turn = system.bus_faults.lock().await;
                let older = nats.back_up().await;
                tokio::time::sleep(frozen).await;
                nats.put_back(&older).await;
            }
            Self::KillBus => {
                let _turn = system.bus_faults.lock().await;
                nats.kill().await;
                nats.restart().await.unwrap();
            }
            Self::KillPostgres => {
                let _turn = system.postgres_faults.lock().await;
                postgres.kill().await;
                postgres.restart().await.unwrap();
            }
            Self::FreezeBus => {
                let _turn = system.bus_faults.lock().await;
                nats.pause();
                tokio::time::sleep(frozen).await;
                nats.resume();
            }
            Self::FreezePostgres => {
                let _turn = system.postgres_faults.lock().await;
                postgres.pause();
                tokio::time::sleep(frozen).await;
                postgres.resume();
            }
            Self::Kill(part) => {
                let mut part = parts[part].lock().await;
                part.kill();
                *part = Part::start(directory.path(), part.roles);
            }
            Self::Freeze(part) => {
                let part = parts[part].lock().await;
                part.freeze();
                tokio::time::sleep(frozen).await;
                part.thaw();
            }
            Self::Restart(part) => {
                let mut part = parts[part].lock().await;
                part.end().await;
                *part = Part::start(directory.path(), part.roles);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_faults_lose_nothing_and_double_nothing() {
    let number = |name: &str, default: u64| {
        std::env::var(name)
            .ok()
            .map_or(default, |text| text.parse().unwrap())
    };
    let (runs, first_seed) = (
        number("LOGLINE_FAULTS_RUNS", RUNS),
        number("LOGLINE_FAULTS_SEED", 1),
    );
    let receipts = number("LOGLINE_FAULTS_RECEIPTS", RECEIPTS);
    let mut trial = Trial::start().await;
    for seed in first_seed..first_seed + runs {
        let mut random = StdRng::seed_from_u64(seed);
        let faults = [Fault::draw(&mut random), Fault::draw(&mut random)];
        trial.run(seed, faults, &mut random, receipts).await;
    }
    println!("{runs} runs from seed {first_seed}:");
    trial.end().await;
}

/// LED-17, with a projector, the actors or the ledger falling down beside it.
#[tokio::test(flavor = "multi_thread")]
async fn a_bus_that_went_back_in_time_loses_nothing_sealed_and_doubles_nothing() {
    let mut trial = Trial::start().await;
    let beside = [
        Fault::Kill(0),
        Fault::Kill(2),
        Fault::Restart(1),
        Fault::KillPostgres,
        Fault::AgeBus,
    ];
    for (seed, other) in (1..).zip(beside) {
        let mut random = StdRng::seed_from_u64(seed);
        let faults = [Fault::AgeBus, other];
        trial.run(seed, faults, &mut random, RECEIPTS).await;
    }
    let account = trial.end().await;
    assert!(account.incidents() >= 1, "somebody was told");
}

/// A system under load, and what it owes.
struct Trial {
    system: System,
    parts: [tokio::sync::Mutex<Part>; PARTS.len()],
    load: Load,
    account: Account,
    silences: BTreeMap<String, Vec<Duration>>,
}

impl Trial {
    async fn start() -> Self {
        let system =
            System::start_with(&format!("[projector]\ntake_over_ms = {TAKE_OVER_MS}\n")).await;
        let parts =
            PARTS.map(|roles| tokio::sync::Mutex::new(Part::start(system.directory.path(), roles)));
        let load = Load::start(&system.bus);
        let tail = system.bus.tail(vec![Filter::timeline()], Start::After(0));
        let account = Account::new(tail.await.unwrap());
        Self {
            system,
            parts,
            load,
            account,
            silences: BTreeMap::new(),
        }
    }

    /// Strikes at some time, twice, and waits until everything that was promised is there, once, and was acted upon.
    async fn run(&mut self, seed: u64, faults: [Fault; 2], random: &mut StdRng, receipts: u64) {
        let Self {
            system,
            parts,
            load,
            account,
            silences,
        } = self;
        let wanted = load.received() + receipts;
        let before = wanted - random.random_range(1..receipts);
        deadline(RECOVERY_MAX, load.reach(before)).await;
        let frozen = Duration::from_millis(random.random_range(TAKE_OVER_MS..3 * TAKE_OVER_MS));
        let between = Duration::from_millis(random.random_range(0..2000));
        let begun = Instant::now();
        let later = async {
            tokio::time::sleep(between).await;
            faults[1].strike(system, parts, frozen).await;
        };
        let struck = async { tokio::join!(faults[0].strike(system, parts, frozen), later) };
        deadline(RECOVERY_MAX, struck).await;
        deadline(RECOVERY_MAX, load.reach(wanted)).await;
        silences
            .entry(faults[0].to_string())
            .or_default()
            .push(load.longest_silence_since(begun));
        account.promised(load.promises());
        deadline(RECOVERY_MAX, account.settle()).await;
        println!(
            "seed {seed}: {}, {}; {} receipts",
            faults[0],
            faults[1],
            load.received()
        );
    }

    /// Stops the load and looks at all that is there.
    async fn end(self) -> Account {
        let Self {
            system,
            parts,
            load,
            mut account,
            silences,
        } = self;
        account.promised(load.stop().await);
        deadline(RECOVERY_MAX, account.settle()).await;
        for part in &parts[2..4] {
            part.lock().await.kill();
        }
        // With the actors gone nothing follows the marker, so what was done twice lies before it.
        let marker = Subject::ingest(
            &"t0".parse().unwrap(),
            &"p0".parse().unwrap(),
            &"marker".parse().unwrap(),
        );
        receipt(&system.bus, &marker, r#"{"who":"faults","this":"end"}"#).await;
        deadline(RECOVERY_MAX, account.read_to_the_marker()).await;
        account.conclude();
        let verified = run(
            system.directory.path(),
            &["verify", "--config", "logline.toml"],
        );
        let report: Value = serde_json::from_slice(&verified.stdout).unwrap();
        assert_eq!(report["ok"], true, "{report}");
        assert_eq!(report["checked"].as_u64().unwrap(), account.spans());
        println!("{account}");
        println!("longest silence by the first fault of a run: count, median, longest, ms");
        for (fault, mut silences) in silences {
            silences.sort_unstable();
            let ms = |silence: Option<&Duration>| silence.map_or(0, Duration::as_millis);
            let middle = silences.get(silences.len() / 2);
            println!(
                "{fault:<28} {:>4} {:>6} {:>6}",
                silences.len(),
                ms(middle),
                ms(silences.last())
            );
        }
        account
    }
}

/// Publishers at work, and what they were promised.
struct Load {
    stop: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    promises: mpsc::UnboundedReceiver<Promise>,
    kept: Vec<Promise>,
    publishers: JoinSet<()>,
}

impl Load {
    #[expect(
        clippy::disallowed_methods,
        reason = "what was promised is kept whole, however much it is"
    )]
    fn start(bus: &Bus) -> Self {
        let (sender, promises) = mpsc::unbounded_channel();
        let (stop, received) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let mut publishers = JoinSet::new();
        for publisher in 0..PUBLISHERS {
            publishers.spawn(publish(
                bus.clone(),
                publisher,
                Arc::clone(&stop),
                Arc::clone(&received),
                sender.clone(),
            ));
        }
        Self {
            stop,
            received,
            promises,
            kept: Vec::new(),
            publishers,
        }
    }

    fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Waits until so many receipts are there.
    async fn reach(&mut self, wanted: u64) {
        while self.received() < wanted {
            if let Some(promise) = self.promises.recv().await {
                self.kept.push(promise);
            }
        }
    }

    /// The longest time without any receipt.
    fn longest_silence_since(&mut self, begun: Instant) -> Duration {
        self.take_in();
        let mut times = vec![begun];
        times.extend(self.kept.iter().map(|it| it.at).filter(|at| *at > begun));
        times.sort_unstable();
        let silences = times.windows(2).map(|pair| pair[1] - pair[0]);
        silences.max().unwrap_or_default()
    }

    /// What was promised since the last call.
    fn promises(&mut self) -> Vec<Promise> {
        self.take_in();
        std::mem::take(&mut self.kept)
    }

    fn take_in(&mut self) {
        while let Ok(promise) = self.promises.try_recv() {
            self.kept.push(promise);
        }
    }

    async fn stop(mut self) -> Vec<Promise> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = deadline(RECOVERY_MAX, self.publishers.join_next()).await {
            ended.unwrap();
        }
        self.promises()
    }
}

/// Publishes spans one after the other, each again and again until its receipt is there.
async fn publish(
    bus: Bus,
    publisher: u64,
    stop: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    promises: mpsc::UnboundedSender<Promise>,
) {
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
        }
        let subject = Subject::ingest(&tenant, &principal, &entity_type.parse().unwrap());
        let position = receipt(&bus, &subject, &span.to_string()).await;
        received.fetch_add(1, Ordering::Relaxed);
        let promise = Promise {
            id,
            position,
            is_function,
            at: Instant::now(),
        };
        promises.send(promise).unwrap();
    }
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
