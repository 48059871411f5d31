//! A bus, a ledger, a projector that seals, and signers under logins of their own.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use logline_bus::access::{self, Clients, Login};
use logline_bus::{Answer, Bus, Outgoing, Receipt, Secret};
use logline_ledger::{
    self as ledger, IdentityKey, Leaf, Provision, Reader, ReaderSession, Role, RolePassword, Writer,
};
use logline_projector::Projector;
use logline_proof::tree::verify_consistency;
use logline_proof::{
    Algorithm, Frontier, NodeHash, Plan, Policy, SignedCheckpoint, TreeHead, VerifierKey,
};
use logline_signer::{Config, Health, Resources, Signer, Witness};
use logline_span::{Encoding, Limits, SigningKey, TenantId};
use logline_testkit::{Database, Nats, Postgres, deadline};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const LOG: &str = "log.test";
const PASSWORD: &str = "test";
/// How often something that says nothing by itself is looked at.
const LOOK: Duration = Duration::from_millis(5);

pub(crate) struct World {
    pub(crate) nats: Nats,
    pub(crate) bus: Bus,
    /// Port on which the bus counts its messages.
    pub(crate) monitor: u16,
    database: Database,
}

/// A part at work; dropping it is pulling its plug.
pub(crate) struct Running {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Running {
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        deadline(PATIENCE, self.tasks.join_next()).await;
    }

    /// Gone in the middle of whatever it does.
    pub(crate) async fn die(mut self) {
        self.tasks.shutdown().await;
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        let accounts = access::accounts(|_| PASSWORD.to_owned(), &Clients::Open);
        // Given back at once, for the server to take.
        let monitor = {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap().port()
        };
        let nats = Nats::start_with(format!(
            "http: \"127.0.0.1:{monitor}\"\njetstream {{}}\n{accounts}"
        ))
        .await;
        let bus = connect(&nats, Login::Operator).await;
        bus.migrate().await.unwrap();
        let database = Postgres::shared().database().await;
        let provision = Provision {
            log_name: LOG.to_owned(),
            identity_key: key(),
            passwords: Role::ALL
                .map(|role| RolePassword {
                    role,
                    password: PASSWORD.to_owned(),
                })
                .to_vec(),
        };
        ledger::migrate(&database.url(), &provision).await.unwrap();
        Self {
            nats,
            bus,
            monitor,
            database,
        }
    }

    fn config(&self, role: Role) -> ledger::Config {
        ledger::Config {
            url: self.database.url_as(role.name(), PASSWORD),
            connections_max: 4,
            acquire_timeout: Duration::from_secs(5),
            application_name: "test".to_owned(),
        }
    }

    pub(crate) fn projector(&self) -> Running {
        let config = logline_projector::Config {
            shard: 0,
            take_over: Duration::from_secs(1),
            ack_wait: Duration::from_secs(2),
            ack_pending_max: 10_000,
            batch_max: 200,
            batch_bytes_max: 4 << 20,
            tenants_cached_max: 100,
            ingest_keep: Duration::from_secs(3600),
            limits: Limits::STANDARD,
        };
        let writer = Writer::connect(&self.config(Role::Projector)).unwrap();
        let projector = Projector::new(config, self.bus.clone(), writer);
        running(|stop| projector.run(stop))
    }

    /// A signer under its own logins, whose rights are those of a deployment.
    pub(crate) async fn signer(&self) -> Running {
        self.watched_signer().await.0
    }

    pub(crate) async fn watched_signer(&self) -> (Running, watch::Receiver<Health>) {
        self.signer_with(Vec::new()).await
    }

    /// A signer that asks witnesses.
    pub(crate) async fn signer_with(
        &self,
        witnesses: Vec<Witness>,
    ) -> (Running, watch::Receiver<Health>) {
        self.signer_of(witnesses, log_key()).await
    }

    /// A signer whose key is another one.
    pub(crate) async fn signer_of(
        &self,
        witnesses: Vec<Witness>,
        key: SigningKey,
    ) -> (Running, watch::Receiver<Health>) {
        let config = Config {
            interval: Duration::from_millis(50),
            parallel_max: 3,
            witnesses,
        };
        let resources = Resources {
            bus: connect(&self.nats, Login::Signer).await,
            ledger: self.signers_ledger(),
            key,
        };
        let signer = Signer::new(config, resources);
        let health = signer.health();
        (running(|stop| signer.run(stop)), health)
    }

    /// The bus under the login of another part.
    pub(crate) async fn as_part(&self, login: Login) -> Bus {
        connect(&self.nats, login).await
    }

    /// Has the operator do something with the stock client.
    pub(crate) fn operate(&self, arguments: &[&str]) {
        let output = Command::new(logline_testkit::nats_cli())
            .args(["--server", &self.nats.url()])
            .args(["--user", Login::Operator.name(), "--password", PASSWORD])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    pub(crate) fn signers_ledger(&self) -> ledger::Signer {
        ledger::Signer::connect(&self.config(Role::Signer)).unwrap()
    }

    pub(crate) fn reader(&self) -> Reader {
        Reader::connect(&self.config(Role::Reader), key()).unwrap()
    }

    pub(crate) fn person(&self, of: &str, name: &str) -> ReaderSession {
        let identity = logline_span::Reader {
            tenant: tenant(of),
            principal: name.parse().unwrap(),
        };
        self.reader().as_reader(Some(&identity))
    }

    pub(crate) fn verifier(&self) -> ledger::Verifier {
        ledger::Verifier::connect(&self.config(Role::Verifier)).unwrap()
    }

    /// Publishes for alice of a tenant and waits for the receipt.
    pub(crate) async fn seal(&self, tenant: &str, more: &str) -> Receipt {
        let subject = format!("ingest.{tenant}.alice.activity").parse().unwrap();
        let body = format!(r#"{{"who":"alice","this":"door"{more}}}"#);
        let sent = self.bus.publish_sealed(&subject, outgoing(&body), PATIENCE);
        match sent.await.unwrap() {
            Answer::Receipt(receipt) => receipt,
            Answer::Pending { seq } => panic!("no receipt for message {seq}"),
        }
    }

    /// Publishes so many spans at once, and waits until the last is sealed.
    pub(crate) async fn seal_many(&self, tenant: &str, count: usize) {
        let subject = format!("ingest.{tenant}.alice.activity").parse().unwrap();
        for _ in 1..count {
            let body = r#"{"who":"alice","this":"door"}"#;
            self.bus.publish(&subject, outgoing(body)).await.unwrap();
        }
        self.seal(tenant, "").await;
    }

    /// Waits until the ledger has a signed head of that size or more; gives the newest.
    pub(crate) async fn signed(&self, tenant: &str, size: u64) -> SignedCheckpoint {
        let (ledger, name) = (self.signers_ledger(), self::tenant(tenant));
        until(async || {
            let note = ledger.newest(&name).await.unwrap()?;
            let signed: SignedCheckpoint = note.parse().unwrap();
            (signed.checkpoint().head.size >= size).then_some(signed)
        })
        .await
    }

    /// Waits until the bus has a signed head of that size or more; gives its number and the newest.
    pub(crate) async fn published(&self, tenant: &str, size: u64) -> (u64, SignedCheckpoint) {
        let name = self::tenant(tenant);
        until(async || {
            let published = self.bus.checkpoint(&name).await.unwrap()?;
            let signed: SignedCheckpoint = published.note.parse().unwrap();
            (signed.checkpoint().head.size >= size).then_some((published.seq, signed))
        })
        .await
    }

    /// Waits until the newest head on the bus is of that size or more, and all these witnesses have cosigned it.
    pub(crate) async fn cosigned(
        &self,
        tenant: &str,
        size: u64,
        witnesses: &[VerifierKey],
    ) -> SignedCheckpoint {
        let name = self::tenant(tenant);
        let policy = Policy {
            witnesses: witnesses.to_vec(),
            threshold: witnesses.len(),
            ..policy(tenant)
        };
        until(async || {
            let published = self.bus.checkpoint(&name).await.unwrap()?;
            let signed: SignedCheckpoint = published.note.parse().unwrap();
            let is_new = signed.checkpoint().head.size >= size;
            (is_new && policy.trust(&signed).is_ok()).then_some(signed)
        })
        .await
    }

    /// The leaves of a tenant's tree, from the rows.
    pub(crate) async fn leaves(&self, tenant: &str) -> Vec<NodeHash> {
        let (ledger, name) = (self.signers_ledger(), self::tenant(tenant));
        let rows = ledger.leaves(&name, 1, 100_000).await.unwrap();
        let leaf = |Leaf { curr_hash, .. }: &Leaf| NodeHash::of_span(curr_hash);
        rows.iter().map(leaf).collect()
    }

    /// Every signed head of a tenant verifies, is the tree of the rows up to there, and follows from each earlier one.
    pub(crate) async fn check(&self, tenant: &str) -> usize {
        let leaves = self.leaves(tenant).await;
        let notes = self.sql(&format!(
            "select encode(convert_to(note, 'UTF8'), 'hex') from ledger.checkpoint where tenant_id = '{tenant}' order by size"
        ));
        let notes: Vec<SignedCheckpoint> = notes.lines().map(unhex).collect();
        let policy = policy(tenant);
        let mut heads: Vec<TreeHead> = Vec::new();
        for note in &notes {
            let head = policy.trust(note).unwrap().head;
            let within = &leaves[..usize::try_from(head.size).unwrap()];
            assert_eq!(tree(within), head, "{tenant} at {}", head.size);
            heads.push(head);
        }
        for (place, new) in heads.iter().enumerate() {
            for old in &heads[..place] {
                let plan = Plan::consistency(old.size, new.size).unwrap();
                let path = plan.compute(&tiles(&plan, &leaves)).unwrap();
                verify_consistency(old, new, &path).unwrap();
            }
        }
        heads.len()
    }

    /// Runs SQL as the superuser and gives its output, unaligned.
    pub(crate) fn sql(&self, statement: &str) -> String {
        let output = Command::new(logline_testkit::psql())
            .args(["--no-psqlrc", "-qtA", "--command", statement])
            .arg(self.database.url())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Does to the rows what only the owner of the server can.
    pub(crate) fn tamper(&self, table: &str, trigger: &str, statement: &str) {
        self.sql(&format!(
            "alter table ledger.{table} disable trigger {trigger}; {statement}; \
             alter table ledger.{table} enable always trigger {trigger}"
        ));
    }

    /// The code of the incident that the signer reported in a tenant's own chain.
    pub(crate) async fn incident(&self, tenant: &str) -> String {
        let statement = format!(
            "select metadata->>'code' from ledger.span where tenant_id = '{tenant}' and entity_type = 'incident' \
             and published_by = 'edge:signer' and signature is not null"
        );
        until(async || Some(self.sql(&statement)).filter(|code| !code.is_empty())).await
    }
}

fn running<F: Future<Output = ()> + Send + 'static>(
    part: impl FnOnce(CancellationToken) -> F,
) -> Running {
    let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
    tasks.spawn(part(stop.clone()));
    Running { tasks, stop }
}

/// Looks again and again, within [`PATIENCE`].
pub(crate) async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let mut ticks = tokio::time::interval(LOOK);
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            ticks.tick().await;
        }
    };
    deadline(PATIENCE, found).await
}

pub(crate) fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

pub(crate) fn log_key() -> SigningKey {
    SigningKey::from_seed(&[9; 32])
}

fn key() -> IdentityKey {
    IdentityKey::from_bytes([7; IdentityKey::LEN])
}

/// Believes the log alone.
pub(crate) fn policy(tenant: &str) -> Policy {
    policy_of(tenant, &log_key())
}

/// Believes the log alone, under this key.
pub(crate) fn policy_of(tenant: &str, key: &SigningKey) -> Policy {
    let name = format!("{LOG}/{tenant}").parse().unwrap();
    let key = VerifierKey::new(name, Algorithm::Ed25519, key.public_key());
    Policy::log_alone(key)
}

fn unhex(text: &str) -> SignedCheckpoint {
    let bytes = (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16));
    let bytes: Result<Vec<u8>, _> = bytes.collect();
    String::from_utf8(bytes.unwrap()).unwrap().parse().unwrap()
}

fn tree(leaves: &[NodeHash]) -> TreeHead {
    let mut frontier = Frontier::new();
    for leaf in leaves {
        frontier.append(*leaf);
    }
    frontier.head()
}

fn tiles(plan: &Plan, leaves: &[NodeHash]) -> Vec<Vec<NodeHash>> {
    let tile = |tile: &logline_proof::Tile| {
        let below = 256_usize.pow(u32::from(tile.level()));
        let first = usize::try_from(tile.first()).unwrap();
        let hashes = leaves.chunks_exact(below).skip(first);
        let hashes = hashes.take(usize::from(tile.width()));
        hashes.map(|below| tree(below).root).collect()
    };
    plan.tiles().iter().map(tile).collect()
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

async fn connect(nats: &Nats, login: Login) -> Bus {
    let config = logline_bus::Config {
        url: nats.url(),
        connection_name: "test".to_owned(),
        replicas: 1,
        ingest_bytes_max: -1,
        user_password: Some((login.name().to_owned(), Secret::new(PASSWORD))),
        ca_file: None,
        open_inboxes: true,
    };
    Bus::connect(&config).await.unwrap()
}
