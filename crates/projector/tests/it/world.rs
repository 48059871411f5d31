//! A bus, a ledger, and projectors between them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use logline_bus::{Answer, Bus, Filter, Outgoing, Receipt, Start, Tail};
use logline_ledger::{
    self as ledger, IdentityKey, Provision, Role, RolePassword, Verifier, Writer,
};
use logline_projector::{Config, Health, Projector};
use logline_span::{Encoding, Limits, Sealed};
use logline_testkit::{Database, Nats, Postgres, deadline};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const PASSWORD: &str = "test";
const LOG: &str = "log.test";
const GREETING: &str = "greeting";

/// Where the ledger lies.
enum Store {
    Shared(Database),
    Own(Postgres),
}

pub(crate) struct World {
    pub(crate) nats: Nats,
    pub(crate) bus: Bus,
    store: Store,
}

/// A projector at work; dropping it is pulling its plug.
pub(crate) struct Running {
    tasks: JoinSet<()>,
    stop: CancellationToken,
    pub(crate) health: watch::Receiver<Health>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Store::Shared(Postgres::shared().database().await), -1).await
    }

    /// With a Postgres that may be killed.
    pub(crate) async fn with_own_postgres() -> Self {
        Self::with(Store::Own(Postgres::private().await), -1).await
    }

    pub(crate) async fn with_small_intake(bytes: i64) -> Self {
        Self::with(Store::Shared(Postgres::shared().database().await), bytes).await
    }

    async fn with(store: Store, ingest_bytes_max: i64) -> Self {
        let nats = Nats::start().await;
        let bus = connect(&nats, ingest_bytes_max).await;
        bus.migrate().await.unwrap();
        let world = Self { nats, bus, store };
        world.migrate().await;
        world
    }

    async fn migrate(&self) {
        let password = |role| RolePassword {
            role,
            password: PASSWORD.to_owned(),
        };
        let provision = Provision {
            log_name: LOG.to_owned(),
            identity_key: IdentityKey::from_bytes([7; IdentityKey::LEN]),
            passwords: vec![password(Role::Projector), password(Role::Verifier)],
        };
        ledger::migrate(&self.admin_url(), &provision)
            .await
            .unwrap();
    }

    /// The same bus before a ledger that knows nothing.
    pub(crate) async fn fresh_ledger(mut self) -> Self {
        self.store = Store::Shared(Postgres::shared().database().await);
        self.migrate().await;
        self
    }

    pub(crate) fn postgres(&self) -> &Postgres {
        match &self.store {
            Store::Own(postgres) => postgres,
            Store::Shared(_) => panic!("the cluster is shared"),
        }
    }

    pub(crate) fn admin_url(&self) -> String {
        match &self.store {
            Store::Own(postgres) => postgres.superuser_url(),
            Store::Shared(database) => database.url(),
        }
    }

    fn ledger_config(&self, role: Role) -> ledger::Config {
        let url = match &self.store {
            Store::Own(postgres) => postgres.url(role.name(), PASSWORD, "postgres"),
            Store::Shared(database) => database.url_as(role.name(), PASSWORD),
        };
        ledger::Config {
            url,
            connections_max: 4,
            acquire_timeout: Duration::from_secs(5),
            application_name: "test".to_owned(),
        }
    }

    pub(crate) fn writer(&self) -> Writer {
        Writer::connect(&self.ledger_config(Role::Projector)).unwrap()
    }

    pub(crate) async fn projector(&self) -> Running {
        self.projector_on(self.bus.clone(), config())
    }

    pub(crate) fn projector_on(&self, bus: Bus, config: Config) -> Running {
        self.projector_inside(&Handle::current(), bus, config)
    }

    /// A projector on another runtime.
    pub(crate) fn projector_inside(&self, on: &Handle, bus: Bus, config: Config) -> Running {
        let projector = Projector::new(config, bus, self.writer());
        let health = projector.health();
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn_on(projector.run(stop.clone()), on);
        Running {
            tasks,
            stop,
            health,
        }
    }

    /// A connection of its own, for a second projector.
    pub(crate) async fn another_bus(&self) -> Bus {
        connect(&self.nats, -1).await
    }

    /// The same, driven by another runtime.
    pub(crate) async fn another_bus_on(&self, on: &Handle) -> Bus {
        let url = self.nats.url();
        on.spawn(async move { connect_to(url, -1).await })
            .await
            .unwrap()
    }

    /// Publishes and waits for the bus alone.
    pub(crate) async fn publish(&self, subject: &str, body: &str) -> u64 {
        self.bus
            .publish(&subject.parse().unwrap(), outgoing(body))
            .await
            .unwrap()
            .0
    }

    /// Publishes and waits for the receipt.
    pub(crate) async fn seal(&self, subject: &str, body: &str) -> Receipt {
        let subject = subject.parse().unwrap();
        let sent = self.bus.publish_sealed(&subject, outgoing(body), PATIENCE);
        match sent.await.unwrap() {
            Answer::Receipt(receipt) => receipt,
            Answer::Pending { seq } => panic!("no receipt for message {seq}"),
        }
    }

    pub(crate) async fn tail(&self) -> Tail {
        self.bus
            .tail(vec![Filter::timeline()], Start::After(0))
            .await
            .unwrap()
    }

    /// Waits until `TIMELINE` holds so many spans.
    pub(crate) async fn sealed(&self, count: u64) -> Vec<Sealed> {
        let mut tail = self.tail().await;
        let mut sealed = Vec::new();
        while (sealed.len() as u64) < count {
            let (number, next) = deadline(PATIENCE, tail.next()).await.unwrap();
            assert_eq!(
                number,
                sealed.len() as u64 + 1,
                "numbers on TIMELINE have no gap"
            );
            sealed.push(next);
        }
        sealed
    }

    /// All rows in the order in which they were committed.
    pub(crate) async fn rows(&self) -> Vec<Sealed> {
        let writer = self.writer();
        let mut rows = Vec::new();
        loop {
            let next = rows.len() as u64 + 1;
            let more = writer.timeline_from(next, 1000).await.unwrap();
            if more.is_empty() {
                return rows;
            }
            for ((number, sealed, _), wanted) in more.into_iter().zip(next..) {
                assert_eq!(number, wanted, "numbers in the ledger have no gap");
                rows.push(sealed);
            }
        }
    }

    /// LED-12: the chain is whole, positions have no gap, and `TIMELINE` says what the ledger says.
    pub(crate) async fn check(&self) -> Vec<Sealed> {
        let rows = self.rows().await;
        assert_eq!(self.bus.timeline_last().await.unwrap(), rows.len() as u64);
        let published = self.sealed(rows.len() as u64).await;
        for (row, published) in rows.iter().zip(&published) {
            assert_eq!(row.to_json(), published.to_json());
        }
        let mut positions: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for row in &rows {
            positions
                .entry(row.span.tenant_id.as_str())
                .or_default()
                .push(row.position.get());
        }
        for (tenant, positions) in positions {
            let wanted: Vec<u64> = (1..=positions.len() as u64).collect();
            assert_eq!(positions, wanted, "of tenant {tenant}");
        }
        let verifier = Verifier::connect(&self.ledger_config(Role::Verifier)).unwrap();
        let scope = ledger::Scope::default();
        let report = verifier.verify(&scope, |_| {}).await.unwrap();
        assert!(
            report.ok && report.checked == rows.len() as u64,
            "{report:?}"
        );
        rows
    }

    /// Runs SQL as the superuser and gives its output, unaligned.
    pub(crate) fn sql(&self, statement: &str) -> String {
        let output = Command::new(logline_testkit::psql())
            .args([
                "--no-psqlrc",
                "--quiet",
                "--tuples-only",
                "--no-align",
                "--command",
                statement,
            ])
            .arg(self.admin_url())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Runs the stock client and gives what it prints.
    pub(crate) fn nats_cli(&self, arguments: &[&str]) -> String {
        let output = Command::new(logline_testkit::nats_cli())
            .args(["--server", &self.nats.url()])
            .args(arguments)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Running {
    /// Waits until it says so.
    pub(crate) async fn becomes(&mut self, wanted: impl FnMut(&Health) -> bool) {
        deadline(PATIENCE, self.health.wait_for(wanted))
            .await
            .unwrap();
    }

    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        deadline(PATIENCE, self.tasks.join_next()).await;
    }

    /// Runs on for a while, and is gone in the middle of whatever it does.
    pub(crate) async fn dies_after(mut self, life: Duration) {
        let ended = tokio::time::timeout(life, self.tasks.join_next()).await;
        assert!(ended.is_err(), "it runs until it is told to stop");
        self.tasks.shutdown().await;
    }
}

async fn connect(nats: &Nats, ingest_bytes_max: i64) -> Bus {
    connect_to(nats.url(), ingest_bytes_max).await
}

async fn connect_to(url: String, ingest_bytes_max: i64) -> Bus {
    let config = logline_bus::Config {
        url,
        connection_name: "test".to_owned(),
        replicas: 1,
        ingest_bytes_max,
        user_password: None,
        ca_file: None,
        open_inboxes: true,
    };
    Bus::connect(&config).await.unwrap()
}

pub(crate) fn config() -> Config {
    Config {
        shard: 0,
        take_over: Duration::from_secs(1),
        ack_wait: Duration::from_secs(2),
        ack_pending_max: 10_000,
        batch_max: 200,
        batch_bytes_max: 4 << 20,
        tenants_cached_max: 3,
        ingest_keep: Duration::from_secs(3600),
        limits: Limits::STANDARD,
    }
}

pub(crate) fn outgoing(body: &str) -> Outgoing {
    Outgoing {
        body: body.to_owned().into(),
        encoding: Encoding::Json,
        traceparent: None,
        receipt: None,
        depth: None,
    }
}

/// Publishers that go on while servers and projectors come and go.
pub(crate) struct Load {
    publishers: JoinSet<Vec<String>>,
    stop: CancellationToken,
}

impl Load {
    /// Each publisher sends one span after the other, and sends again whatever was not acknowledged.
    pub(crate) fn start(bus: &Bus, publishers: usize) -> Self {
        Self::start_as(bus, publishers, "")
    }

    /// The same, with keys that begin with a name.
    pub(crate) fn start_as(bus: &Bus, publishers: usize, name: &str) -> Self {
        let stop = CancellationToken::new();
        let mut load = Self {
            publishers: JoinSet::new(),
            stop,
        };
        for number in 0..publishers {
            let (bus, stop, name) = (bus.clone(), load.stop.clone(), name.to_owned());
            load.publishers
                .spawn(async move { publish_until(&bus, number, &name, &stop).await });
        }
        load
    }

    /// Stops and gives the key of every span that the bus acknowledged.
    pub(crate) async fn finish(mut self) -> BTreeSet<String> {
        self.stop.cancel();
        let mut keys = BTreeSet::new();
        while let Some(of_one) = deadline(PATIENCE, self.publishers.join_next()).await {
            keys.extend(of_one.unwrap());
        }
        keys
    }
}

async fn publish_until(
    bus: &Bus,
    number: usize,
    name: &str,
    stop: &CancellationToken,
) -> Vec<String> {
    let subject = format!("ingest.tenant{}.p{number}.activity", number % 3)
        .parse()
        .unwrap();
    let mut keys = Vec::new();
    while !stop.is_cancelled() {
        let key = format!("{name}{number}-{}", keys.len());
        let body = format!(r#"{{"who":"p{number}","this":"door","idempotency_key":"{key}"}}"#);
        // What is not acknowledged may be there all the same: the key makes it safe to send again.
        while bus.publish(&subject, outgoing(&body)).await.is_err() {
            deadline(
                PATIENCE,
                bus.connected().wait_for(|connection| connection.up),
            )
            .await
            .unwrap();
        }
        keys.push(key);
    }
    keys
}

/// Waits until every key is in the ledger, and proves that each is there once, beside `others` without a key.
pub(crate) async fn all_sealed_once(world: &World, keys: &BTreeSet<String>, others: usize) {
    let mut tail = world.tail().await;
    let (mut seen, mut without) = (BTreeSet::new(), 0);
    while !seen.is_superset(keys) || without < others {
        let (_, sealed) = deadline(PATIENCE, tail.next()).await.unwrap();
        match sealed.span.idempotency_key {
            Some(key) => assert!(seen.insert(key), "each key once"),
            None => without += 1,
        }
    }
    // A publish whose acknowledgement was lost may be sealed beside those that were acknowledged.
    assert_eq!(without, others);
}

/// A stock client that waits for receipts.
pub(crate) struct Inbox {
    client: Child,
    lines: mpsc::Receiver<String>,
}

impl Inbox {
    /// Returns when the server has the subscription.
    pub(crate) fn open(world: &World, address: &str) -> Self {
        let mut client = Command::new(logline_testkit::nats_cli())
            .args(["--server", &world.nats.url(), "sub", "--raw", address])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(client.stdout.take().unwrap());
        let (lines, received) = mpsc::channel();
        std::thread::spawn(move || {
            output
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| lines.send(line))
        });
        let mut inbox = Self {
            client,
            lines: received,
        };
        // Whatever comes back says that the subscription is there.
        loop {
            world.nats_cli(&["pub", address, GREETING]);
            if inbox.line(Duration::from_millis(100)).is_some() {
                return inbox;
            }
        }
    }

    pub(crate) fn next(&mut self) -> serde_json::Value {
        loop {
            let line = self.line(PATIENCE).expect("a receipt");
            if line != GREETING {
                return serde_json::from_str(&line).unwrap();
            }
        }
    }

    fn line(&mut self, patience: Duration) -> Option<String> {
        let line = self.lines.recv_timeout(patience).ok()?;
        if line.is_empty() {
            self.line(patience)
        } else {
            Some(line)
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}
