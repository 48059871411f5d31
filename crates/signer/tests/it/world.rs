//! A bus, a ledger, a projector and signers between them.

use std::process::Command;
use std::time::Duration;

use async_nats::Subscriber;
use futures_util::StreamExt as _;
use logline_bus::{Answer, Bus, Outgoing, Receipt};
use logline_ledger::{self as ledger, IdentityKey, Provision, Role, RolePassword, Writer};
use logline_projector::Projector;
use logline_proof::{
    Algorithm, Checkpoint, Frontier, NodeHash, Plan, SignedCheckpoint, VerifierKey,
};
use logline_signer::{Config, Health, Signer};
use logline_span::{Encoding, Hash, Limits, SigningKey};
use logline_testkit::{Database, Nats, Postgres, deadline};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const PASSWORD: &str = "test";
const LOG: &str = "log.test";

pub(crate) struct World {
    pub(crate) bus: Bus,
    pub(crate) ledger: ledger::Signer,
    /// Heads as they are published, and incidents on their way in.
    told: Subscriber,
    database: Database,
    nats: Nats,
    _projector: JoinSet<()>,
}

/// A signer at work; dropping it is pulling its plug.
pub(crate) struct Running {
    tasks: JoinSet<()>,
    stop: CancellationToken,
    pub(crate) health: watch::Receiver<Health>,
}

pub(crate) fn key() -> SigningKey {
    SigningKey::from_seed(&[9; 32])
}

/// By which others verify a tenant's heads.
pub(crate) fn verifier_key(tenant: &str) -> VerifierKey {
    let name = format!("{LOG}/{tenant}").parse().unwrap();
    VerifierKey::new(name, Algorithm::Ed25519, key().public_key())
}

impl World {
    pub(crate) async fn new() -> Self {
        let nats = Nats::start().await;
        let bus = connect(&nats).await;
        bus.migrate().await.unwrap();
        let database = Postgres::shared().database().await;
        let provision = Provision {
            log_name: LOG.to_owned(),
            identity_key: IdentityKey::from_bytes([7; IdentityKey::LEN]),
            passwords: [Role::Projector, Role::Signer]
                .map(|role| RolePassword {
                    role,
                    password: PASSWORD.to_owned(),
                })
                .to_vec(),
        };
        ledger::migrate(&database.url(), &provision).await.unwrap();
        let writer = Writer::connect(&config(&database, Role::Projector)).unwrap();
        let projector = Projector::new(projector_config(), connect(&nats).await, writer);
        let mut tasks = JoinSet::new();
        tasks.spawn(projector.run(CancellationToken::new()));
        let client = async_nats::connect(nats.url()).await.unwrap();
        let told = client.subscribe(">").await.unwrap();
        client.flush().await.unwrap();
        Self {
            ledger: ledger::Signer::connect(&config(&database, Role::Signer)).unwrap(),
            bus,
            told,
            database,
            nats,
            _projector: tasks,
        }
    }

    pub(crate) async fn signer(&self) -> Running {
        let config = Config {
            gather: Duration::from_millis(20),
            logs_max: 2,
        };
        let bus = connect(&self.nats).await;
        let signer = Signer::new(config, bus, self.ledger.clone(), key());
        let health = signer.health();
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(signer.run(stop.clone()));
        Running {
            tasks,
            stop,
            health,
        }
    }

    /// Publishes so many spans of a tenant, all sealed on return.
    pub(crate) async fn seal(&self, tenant: &str, count: usize) {
        let subject = format!("ingest.{tenant}.alice.activity").parse().unwrap();
        for number in 0..count {
            let body = format!(r#"{{"who":"alice","this":"door {number}"}}"#);
            let sent = self
                .bus
                .publish_sealed(&subject, outgoing(body), PATIENCE)
                .await;
            let Answer::Receipt(Receipt::Sealed { .. }) = sent.unwrap() else {
                panic!("not sealed")
            };
        }
    }

    /// The next head of a tenant that is published.
    pub(crate) async fn head(&mut self, tenant: &str) -> SignedCheckpoint {
        let subject = format!("ledger.checkpoint.{tenant}");
        let text = self.told(|heard| heard == subject).await;
        let signed: SignedCheckpoint = text.parse().unwrap();
        assert!(signed.verify(&[verifier_key(tenant)]).is_ok());
        signed
    }

    /// The head of a tenant that covers so many spans.
    pub(crate) async fn head_at(&mut self, tenant: &str, size: u64) -> SignedCheckpoint {
        loop {
            let signed = self.head(tenant).await;
            if signed.checkpoint().head.size == size {
                return signed;
            }
        }
    }

    /// The next incident that the signer reports of a tenant.
    pub(crate) async fn incident(&mut self, tenant: &str) -> String {
        let subject = format!("ingest.{tenant}.edge:signer.incident");
        self.told(|heard| heard == subject).await
    }

    async fn told(&mut self, is_wanted: impl Fn(&str) -> bool) -> String {
        loop {
            let message = deadline(PATIENCE, self.told.next()).await.unwrap();
            if is_wanted(&message.subject) {
                return String::from_utf8(message.payload.to_vec()).unwrap();
            }
        }
    }

    /// The hashes of a tenant's chain, as the ledger has them.
    pub(crate) async fn hashes(&self, tenant: &str) -> Vec<Hash> {
        let tenant = tenant.parse().unwrap();
        self.ledger.hashes(&tenant, 0, 100_000).await.unwrap()
    }

    /// The head that so many rows lead to, signed by the log's key.
    pub(crate) async fn signed(&self, tenant: &str, size: usize) -> SignedCheckpoint {
        let mut tree = Frontier::new();
        for hash in self.hashes(tenant).await.iter().take(size) {
            tree.append(NodeHash::of_span(hash));
        }
        let origin = format!("{LOG}/{tenant}").parse().unwrap();
        Checkpoint::new(origin, tree.head()).sign(&key()).unwrap()
    }

    /// The hashes of a plan, from what the ledger stores.
    pub(crate) async fn compute(&self, tenant: &str, plan: &Plan) -> Vec<NodeHash> {
        let tenant = tenant.parse().unwrap();
        let tiles = self.ledger.tiles(&tenant, plan.tiles()).await.unwrap();
        plan.compute(&tiles).unwrap()
    }

    /// The newest head that is stored.
    pub(crate) async fn stored(&self, tenant: &str) -> Option<SignedCheckpoint> {
        let note = self.ledger.newest(&tenant.parse().unwrap()).await.unwrap();
        note.map(|note| note.parse().unwrap())
    }

    /// Changes the ledger as only its host can.
    pub(crate) fn tamper(&self, statement: &str) {
        let script = format!("set session_replication_role = replica; {}", statement);
        let triggers = ["span", "node", "checkpoint"].map(|table| {
            let trigger = if table == "span" { "ur" } else { table };
            format!("alter table ledger.{table} disable trigger {trigger}_no_update;")
        });
        self.psql(&self.database.url(), &(triggers.concat() + &script))
            .unwrap();
    }

    /// Takes the heads from the bus, as a lost store would.
    pub(crate) fn forget_heads(&self) {
        let purged = Command::new(logline_testkit::nats_cli())
            .args([
                "--server",
                &self.nats.url(),
                "stream",
                "purge",
                "--force",
                "CHECKPOINTS",
            ])
            .output()
            .unwrap();
        assert!(purged.status.success(), "{purged:?}");
    }

    /// What Postgres says to the signer's login.
    pub(crate) fn as_signer(&self, statement: &str) -> Result<String, String> {
        self.psql(
            &self.database.url_as(Role::Signer.name(), PASSWORD),
            statement,
        )
    }

    fn psql(&self, url: &str, statement: &str) -> Result<String, String> {
        let output = Command::new(logline_testkit::psql())
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"])
            .args(["--set", "ON_ERROR_STOP=1", "--command", statement])
            .arg(url)
            .output()
            .unwrap();
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

impl Running {
    pub(crate) async fn becomes(&mut self, wanted: impl FnMut(&Health) -> bool) {
        deadline(PATIENCE, self.health.wait_for(wanted))
            .await
            .unwrap();
    }

    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        deadline(PATIENCE, self.tasks.join_next()).await;
    }
}

async fn connect(nats: &Nats) -> Bus {
    let config = logline_bus::Config {
        url: nats.url(),
        connection_name: "test".to_owned(),
        replicas: 1,
        ingest_bytes_max: -1,
        user_password: None,
        open_inboxes: true,
    };
    Bus::connect(&config).await.unwrap()
}

fn config(database: &Database, role: Role) -> ledger::Config {
    ledger::Config {
        url: database.url_as(role.name(), PASSWORD),
        connections_max: 4,
        acquire_timeout: Duration::from_secs(5),
        application_name: "test".to_owned(),
    }
}

fn projector_config() -> logline_projector::Config {
    logline_projector::Config {
        shard: 0,
        take_over: Duration::from_secs(1),
        ack_wait: Duration::from_secs(2),
        ack_pending_max: 10_000,
        batch_max: 200,
        batch_bytes_max: 4 << 20,
        tenants_cached_max: 10,
        ingest_keep: Duration::from_secs(3600),
        limits: Limits::STANDARD,
    }
}

fn outgoing(body: String) -> Outgoing {
    Outgoing {
        body: body.into(),
        encoding: Encoding::Json,
        traceparent: None,
        receipt: None,
        depth: None,
    }
}
