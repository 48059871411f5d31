//! A bus, a ledger, a projector between them, and actors.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use logline_actors::{Actors, Backoff, Config, Health, OnStep, Resources, Role};
use logline_bus::{Answer, Bus, Filter, Outgoing, Receipt, Start, Subject, Tail};
use logline_ledger::{self as ledger, IdentityKey, Provision, RolePassword, Writer};
use logline_projector::Projector;
use logline_sandbox::Sandbox;
use logline_span::{Encoding, Limits, Principal, Sealed, SigningKey, SpanId};
use logline_testkit::{Database, Nats, Postgres, deadline};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const PASSWORD: &str = "test";

/// Where the ledger lies.
enum Store {
    Shared(Database),
    Own(Postgres),
}

pub(crate) struct World {
    pub(crate) nats: Nats,
    pub(crate) bus: Bus,
    store: Store,
    projector: JoinSet<()>,
}

/// Actors at work; dropping them is pulling their plug.
pub(crate) struct Running {
    pub(crate) health: Health,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Store::Shared(Postgres::shared().database().await)).await
    }

    /// With a Postgres that may be stopped.
    pub(crate) async fn with_own_postgres() -> Self {
        Self::with(Store::Own(Postgres::private().await)).await
    }

    async fn with(store: Store) -> Self {
        let nats = Nats::start().await;
        let bus = connect(&nats).await;
        bus.migrate().await.unwrap();
        let password = |role| RolePassword {
            role,
            password: PASSWORD.to_owned(),
        };
        let provision = Provision {
            log_name: "log.test".to_owned(),
            identity_key: IdentityKey::from_bytes([7; IdentityKey::LEN]),
            passwords: vec![
                password(ledger::Role::Projector),
                password(ledger::Role::Actor),
            ],
        };
        ledger::migrate(&admin_url(&store), &provision)
            .await
            .unwrap();
        let mut world = Self {
            nats,
            bus,
            store,
            projector: JoinSet::new(),
        };
        let writer = Writer::connect(&world.ledger(ledger::Role::Projector)).unwrap();
        let projector = Projector::new(projecting(), world.bus.clone(), writer);
        world
            .projector
            .spawn(projector.run(CancellationToken::new()));
        world
    }

    pub(crate) fn postgres(&self) -> &Postgres {
        match &self.store {
            Store::Own(postgres) => postgres,
            Store::Shared(_) => panic!("the cluster is shared"),
        }
    }

    fn ledger(&self, role: ledger::Role) -> ledger::Config {
        ledger::Config {
            url: match &self.store {
                Store::Own(postgres) => postgres.url(role.name(), PASSWORD, "postgres"),
                Store::Shared(database) => database.url_as(role.name(), PASSWORD),
            },
            connections_max: 4,
            acquire_timeout: Duration::from_secs(5),
            application_name: "test".to_owned(),
        }
    }

    /// Actors with the settings of most tests, on a connection of their own.
    pub(crate) async fn actors(&self) -> Running {
        self.actors_with(config(), None).await
    }

    pub(crate) async fn actors_with(&self, config: Config, on_step: Option<OnStep>) -> Running {
        self.actors_in(sandbox().await, config, on_step).await
    }

    pub(crate) async fn actors_in(
        &self,
        sandbox: Sandbox,
        config: Config,
        on_step: Option<OnStep>,
    ) -> Running {
        let resources = Resources {
            bus: connect(&self.nats).await,
            ledger: ledger::Actors::connect(&self.ledger(ledger::Role::Actor)).unwrap(),
            sandbox,
            signing_key: SigningKey::from_seed(&[3; 32]),
            on_step,
        };
        let actors = Actors::new(config, resources);
        let health = actors.health();
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let token = stop.clone();
        tasks.spawn(async move { actors.run(token).await.unwrap() });
        Running {
            health,
            stop,
            tasks,
        }
    }

    /// Publishes as `principal` of acme and gives the id under which it is sealed.
    pub(crate) async fn seal(&self, principal: &str, entity_type: &str, body: Value) -> SpanId {
        let [tenant, principal, entity_type] = ["acme", principal, entity_type];
        let subject = Subject::ingest(
            &tenant.parse().unwrap(),
            &principal.parse().unwrap(),
            &entity_type.parse().unwrap(),
        );
        let outgoing = Outgoing {
            body: body.to_string().into(),
            encoding: Encoding::Json,
            traceparent: None,
            receipt: None,
            depth: None,
        };
        let answer = self.bus.publish_sealed(&subject, outgoing, PATIENCE);
        match answer.await.unwrap() {
            Answer::Receipt(Receipt::Sealed { id, .. }) => id,
            other => panic!("not sealed: {other:?}"),
        }
    }

    /// Alice's function, sealed as scheduled unless `more` says otherwise.
    pub(crate) async fn function(&self, code: &str, more: Value) -> SpanId {
        let mut body = json!({
            "who": "alice", "did": "defined", "this": "function", "status": "scheduled", "code": code,
        });
        merge(&mut body, more);
        self.seal("alice", "function", body).await
    }

    /// A request for a function.
    pub(crate) async fn request(&self, principal: &str, function: SpanId, more: Value) -> SpanId {
        let mut body = json!({
            "who": principal, "did": "asked", "this": "run_code", "status": "scheduled", "parent_id": function,
        });
        merge(&mut body, more);
        self.seal(principal, "request", body).await
    }

    /// Everything of these types, from the beginning.
    pub(crate) async fn tail(&self, entity_types: &[&str]) -> Follow {
        let filter =
            |entity_type: &&str| Filter::timeline().entity_type(entity_type.parse().unwrap());
        let filters = entity_types.iter().map(filter).collect();
        Follow(self.bus.tail(filters, Start::After(0)).await.unwrap())
    }

    /// How many rows of the ledger fulfil a condition.
    pub(crate) fn count(&self, condition: &str) -> u64 {
        self.sql(&format!(
            "select count(*) from ledger.span where {condition}"
        ))
        .parse()
        .unwrap()
    }

    /// What Postgres answers its superuser.
    pub(crate) fn sql(&self, statement: &str) -> String {
        let output = std::process::Command::new(logline_testkit::psql())
            .args([
                "--no-psqlrc",
                "--quiet",
                "--tuples-only",
                "--no-align",
                "--command",
                statement,
            ])
            .arg(admin_url(&self.store))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Damages what the ledger holds of a span, as nobody but a superuser can.
    pub(crate) fn damage(&self, id: SpanId) {
        self.sql(&format!(
            "alter table ledger.span disable trigger ur_no_update;
             update ledger.span set trace_id = repeat('?', 32) where id = '{id}';
             alter table ledger.span enable always trigger ur_no_update",
        ));
    }

    /// Waits until everything that was asked for before is answered: actors take functions and requests in order.
    pub(crate) async fn settle(&self) {
        let mut tail = self.tail(&["execution"]).await;
        let marker = self
            .function(
                "export function main() { return 'settled' }",
                json!({ "name": "settle" }),
            )
            .await;
        tail.until(|execution| execution.span.parent_id == Some(marker))
            .await;
    }
}

/// Sealed spans as they come.
pub(crate) struct Follow(Tail);

impl Follow {
    pub(crate) async fn next(&mut self) -> Sealed {
        deadline(PATIENCE, self.0.next()).await.unwrap().1
    }

    pub(crate) async fn until(&mut self, wanted: impl Fn(&Sealed) -> bool) -> Sealed {
        loop {
            let sealed = self.next().await;
            if wanted(&sealed) {
                return sealed;
            }
        }
    }

    /// The next one that belongs to a function or other span.
    pub(crate) async fn of(&mut self, parent: SpanId) -> Sealed {
        self.until(|sealed| sealed.span.parent_id == Some(parent))
            .await
    }
}

impl Running {
    /// Told to stop, and ended.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        deadline(PATIENCE, self.tasks.join_next())
            .await
            .unwrap()
            .unwrap();
    }
}

pub(crate) fn config() -> Config {
    Config {
        roles: vec![Role::Observer, Role::Worker],
        slow_ms: 5000,
        timeout_ms: 10_000,
        concurrency_max: 4,
        in_flight_max: 64,
        ack_wait: Duration::from_secs(10),
        take_over: Duration::from_secs(2),
        deliveries_max: 50,
        backoff: Backoff {
            first: Duration::from_millis(10),
            longest: Duration::from_millis(200),
        },
        crashes_max: 3,
        crash_window: Duration::from_secs(60),
        memory_bytes_max: 64 << 20,
        limits: Limits::STANDARD,
    }
}

fn projecting() -> logline_projector::Config {
    logline_projector::Config {
        shard: 0,
        take_over: Duration::from_secs(2),
        ack_wait: Duration::from_secs(10),
        ack_pending_max: 5000,
        batch_max: 500,
        batch_bytes_max: 8 << 20,
        tenants_cached_max: 100,
        ingest_keep: Duration::from_secs(3600),
        limits: Limits::STANDARD,
    }
}

async fn connect(nats: &Nats) -> Bus {
    let config = logline_bus::Config {
        url: nats.url(),
        connection_name: "test".to_owned(),
        replicas: 1,
        ingest_bytes_max: -1,
        user_password: None,
        ca_file: None,
        open_inboxes: true,
    };
    Bus::connect(&config).await.unwrap()
}

/// A sandbox with less memory than its engine needs.
pub(crate) fn broken_sandbox() -> Sandbox {
    Sandbox::new(logline_sandbox::Config {
        memory_bytes_max: 1 << 16,
        ..sandbox_config()
    })
    .unwrap()
}

fn sandbox_config() -> logline_sandbox::Config {
    logline_sandbox::Config {
        cache_dir: PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("sandbox"),
        instances: 4,
        queue: 64,
        memory_bytes_max: 64 << 20,
    }
}

/// One sandbox for all tests of the process: the engine is compiled once.
async fn sandbox() -> Sandbox {
    static SANDBOX: OnceCell<Sandbox> = OnceCell::const_new();
    let make = || async {
        let sandbox = Sandbox::new(sandbox_config()).unwrap();
        sandbox.ready().await.unwrap();
        sandbox
    };
    SANDBOX.get_or_init(make).await.clone()
}

fn admin_url(store: &Store) -> String {
    match store {
        Store::Own(postgres) => postgres.superuser_url(),
        Store::Shared(database) => database.url(),
    }
}

fn merge(body: &mut Value, more: Value) {
    let Value::Object(more) = more else { return };
    body.as_object_mut().unwrap().extend(more);
}

/// The sealed span without what differs between runs: its proofs and times; ids by the names given.
pub(crate) fn shown(sealed: &Sealed, names: &[(SpanId, &str)]) -> String {
    let mut shown: Value = serde_json::from_str(&sealed.to_json()).unwrap();
    let fields = shown.as_object_mut().unwrap();
    for proof in ["signature", "public_key"] {
        assert!(
            fields.remove(proof).is_some(),
            "the system signs what it writes"
        );
    }
    for differing in [
        "at",
        "received_at",
        "prev_hash",
        "curr_hash",
        "position",
        "id",
        "trace_id",
        "duration_ms",
    ] {
        fields.remove(differing);
    }
    let mut text = serde_json::to_string_pretty(&shown).unwrap();
    for (id, name) in names {
        text = text.replace(&id.to_string(), name);
    }
    text
}

pub(crate) fn owner(name: &str) -> Principal {
    name.parse().unwrap()
}

/// A hook that panics where `fails` says so.
pub(crate) fn failing(
    fails: impl Fn(Role, logline_actors::Step) -> bool + Send + Sync + 'static,
) -> Option<OnStep> {
    Some(Arc::new(move |role, step| {
        assert!(!fails(role, step), "told to crash")
    }))
}
