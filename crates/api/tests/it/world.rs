//! A bus, a ledger, a projector and an API between them.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use logline_access::{FixedKey, Grant, Issuer, Minter, RoleTrust, Source, Tenants, Verifier};
use logline_api::{Api, Check, Config, OnStep, Relay, RelayConfig, RelayResources, Resources};
use logline_bus::{self as bus, Bus, Secret};
use logline_ledger::{
    self as ledger, ClientLogin, IdentityKey, Provision, Role, RolePassword, Writer, bind_login,
};
use logline_projector::Projector;
use logline_span::{Limits, Reader, SigningKey, Timestamp};
use logline_testkit::{Database, Nats, Postgres, deadline};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::client::Client;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const PASSWORD: &str = "test";

/// Where the ledger lies.
enum Store {
    Shared(Database),
    Own(Postgres),
}

pub(crate) struct World {
    pub(crate) nats: Nats,
    /// The API's connection.
    pub(crate) bus: Bus,
    pub(crate) addr: SocketAddr,
    store: Store,
    stop: CancellationToken,
    api: JoinSet<()>,
    projector: JoinSet<()>,
}

/// What the API is told; a test changes what it is about.
pub(crate) fn config() -> Config {
    Config {
        rate: None,
        // Machines that run many tests at once are slow.
        sealed_wait_ms: 30_000,
        streams_max: 8,
        ..Config::STANDARD
    }
}

/// The key that signs tokens.
fn issuer_key() -> SigningKey {
    SigningKey::from_seed(&[0x15; 32])
}

/// Whose tokens are believed.
fn access() -> logline_access::Config {
    let token = |text: &str, tenant: &str, principal: &str| {
        FixedKey::of(text, tenant.parse().unwrap(), principal.parse().unwrap())
    };
    let tenants = ["acme", "other", "third"].map(|tenant| tenant.parse().unwrap());
    logline_access::Config {
        audience: "logline".to_owned(),
        issuers: vec![Issuer {
            name: None,
            tenants: Tenants::Listed(tenants.to_vec()),
            source: Source::Key(issuer_key().public_key()),
        }],
        fixed_keys: vec![
            token("alice's", "acme", "alice"),
            token("bob's", "acme", "bob@acme.com"),
            token("eve's", "other", "alice"),
            with_role(token("olga's", "acme", "olga"), "auditor"),
            with_role(token("mary's", "acme", "mary"), "manager"),
            with_role(token("adam's", "other", "adam"), "admin"),
        ],
        role_trust: RoleTrust::Ledger,
    }
}

fn with_role(token: FixedKey, role: &str) -> FixedKey {
    let roles = [role.parse().unwrap()].into();
    FixedKey { roles, ..token }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(config()).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        Self::start(Store::Shared(Postgres::shared().database().await), config).await
    }

    /// With a Postgres that may be stopped.
    pub(crate) async fn with_own_postgres(config: Config) -> Self {
        Self::start(Store::Own(Postgres::private().await), config).await
    }

    pub(crate) async fn with_check(check: Check) -> Self {
        Self::start_with(
            Store::Shared(Postgres::shared().database().await),
            config(),
            check,
        )
        .await
    }

    async fn start(store: Store, config: Config) -> Self {
        Self::start_with(store, config, Check::new("projector", || Ok(()))).await
    }

    async fn start_with(store: Store, config: Config, check: Check) -> Self {
        logline_telemetry::metrics::install();
        let nats = Nats::start().await;
        let bus = connect(&nats).await;
        bus.migrate().await.unwrap();
        let password = |role| RolePassword {
            role,
            password: PASSWORD.to_owned(),
        };
        let provision = Provision {
            log_name: "log.test".to_owned(),
            identity_key: identity_key(),
            passwords: Role::ALL.map(password).to_vec(),
        };
        ledger::migrate(&store.admin_url(), &provision)
            .await
            .unwrap();
        let resources = store.resources(&bus, vec![check]);
        let stop = CancellationToken::new();
        let bound = Api::bind(config, resources).await.unwrap();
        let addr = bound.addr();
        let mut api = JoinSet::new();
        api.spawn(bound.run(stop.clone()));
        let mut world = Self {
            nats,
            bus,
            addr,
            store,
            stop,
            api,
            projector: JoinSet::new(),
        };
        world.start_projector().await;
        world
    }

    pub(crate) fn anonymous(&self) -> Client {
        Client {
            addr: self.addr,
            token: None,
        }
    }

    pub(crate) fn alice(&self) -> Client {
        self.by("alice's")
    }

    /// Of alice's tenant.
    pub(crate) fn bob(&self) -> Client {
        self.by("bob's")
    }

    /// Of another tenant, under alice's name.
    pub(crate) fn eve(&self) -> Client {
        self.by("eve's")
    }

    /// An auditor of alice's tenant.
    pub(crate) fn olga(&self) -> Client {
        self.by("olga's")
    }

    pub(crate) fn verifier(&self) -> ledger::Verifier {
        ledger::Verifier::connect(&self.store.config(Role::Verifier)).unwrap()
    }

    pub(crate) fn by(&self, token: &str) -> Client {
        Client {
            addr: self.addr,
            token: Some(token.to_owned()),
        }
    }

    /// A caller with a token that this system's issuer signed.
    pub(crate) fn minted(&self, tenant: &str, principal: &str, ttl: Duration) -> Client {
        self.by(&self.token(tenant, principal, &[], ttl))
    }

    #[expect(clippy::disallowed_methods, reason = "a test mints tokens for now")]
    pub(crate) fn token(
        &self,
        tenant: &str,
        principal: &str,
        roles: &[&str],
        ttl: Duration,
    ) -> String {
        let grant = Grant {
            tenant: tenant.parse().unwrap(),
            principal: principal.parse().unwrap(),
            roles: roles.iter().map(|role| role.parse().unwrap()).collect(),
            ttl,
        };
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let micros = i64::try_from(since.unwrap().as_micros()).unwrap();
        let minter = Minter::new(issuer_key(), "logline");
        minter.mint(&grant, Timestamp::from_micros(micros)).unwrap()
    }

    pub(crate) fn token_verifier(&self) -> Verifier {
        self.store.resources(&self.bus, Vec::new()).access
    }

    pub(crate) fn postgres(&self) -> &Postgres {
        match &self.store {
            Store::Own(postgres) => postgres,
            Store::Shared(_) => panic!("the cluster is shared"),
        }
    }

    pub(crate) fn admin_url(&self) -> String {
        self.store.admin_url()
    }

    pub(crate) fn signers_ledger(&self) -> ledger::Signer {
        ledger::Signer::connect(&self.store.config(Role::Signer)).unwrap()
    }

    /// The relay's resources, on connections of its own.
    pub(crate) async fn relay(&self, config: RelayConfig, on_step: Option<OnStep>) -> Relay {
        let resources = RelayResources {
            bus: connect(&self.nats).await,
            outbox: ledger::Outbox::connect(&self.store.config(Role::Outbox)).unwrap(),
            on_step,
        };
        Relay::new(config, resources)
    }

    /// Ends the projector as a crash would.
    pub(crate) async fn kill_projector(&mut self) {
        self.projector.shutdown().await;
    }

    pub(crate) async fn start_projector(&mut self) {
        let writer = Writer::connect(&self.store.config(Role::Projector)).unwrap();
        let projector = Projector::new(sealing(), connect(&self.nats).await, writer);
        self.projector.spawn(projector.run(self.stop.clone()));
    }

    /// The URL of a person's own login in Postgres.
    pub(crate) async fn sql_login(&self, tenant: &str, principal: &str) -> String {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let login = ClientLogin {
            name: format!("person_{number}"),
            password: PASSWORD.to_owned(),
            reader: Reader {
                tenant: tenant.parse().unwrap(),
                principal: principal.parse().unwrap(),
            },
        };
        bind_login(&self.store.admin_url(), &login).await.unwrap();
        self.store.url(&login.name)
    }

    /// Stops the API as a process would be, and waits until it has ended.
    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        deadline(PATIENCE, async {
            while self.api.join_next().await.is_some() {}
        })
        .await;
    }

    /// The last refused message with this code: its headers and its bytes, as the stock client shows them.
    pub(crate) async fn quarantined(&self, tenant: &str, code: &str) -> String {
        let mut command = tokio::process::Command::new(logline_testkit::nats_cli());
        let subject = format!("--last-for=quarantine.{tenant}.{code}");
        command.args([
            "--server",
            &self.nats.url(),
            "stream",
            "get",
            "QUARANTINE",
            &subject,
        ]);
        let output = deadline(PATIENCE, command.output()).await.unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.projector.abort_all();
    }
}

impl Store {
    fn admin_url(&self) -> String {
        match self {
            Self::Own(postgres) => postgres.superuser_url(),
            Self::Shared(database) => database.url(),
        }
    }

    fn resources(&self, bus: &Bus, checks: Vec<Check>) -> Resources {
        let config = self.config(Role::Reader);
        let reader = ledger::Reader::connect(&config, identity_key()).unwrap();
        Resources {
            bus: bus.clone(),
            access: Verifier::new(access(), reader.clone()).unwrap(),
            reader,
            limits: Limits::STANDARD,
            checks,
        }
    }

    fn url(&self, login: &str) -> String {
        match self {
            Self::Own(postgres) => postgres.url(login, PASSWORD, "postgres"),
            Self::Shared(database) => database.url_as(login, PASSWORD),
        }
    }

    fn config(&self, role: Role) -> ledger::Config {
        ledger::Config {
            url: self.url(role.name()),
            connections_max: 4,
            acquire_timeout: Duration::from_secs(5),
            application_name: "test".to_owned(),
        }
    }
}

fn identity_key() -> IdentityKey {
    IdentityKey::from_bytes([7; IdentityKey::LEN])
}

async fn connect(nats: &Nats) -> Bus {
    let config = bus::Config {
        url: nats.url(),
        connection_name: "test".to_owned(),
        replicas: 1,
        ingest_bytes_max: -1,
        user_password: None::<(String, Secret)>,
        ca_file: None,
        open_inboxes: true,
    };
    Bus::connect(&config).await.unwrap()
}

fn sealing() -> logline_projector::Config {
    logline_projector::Config {
        shard: 0,
        take_over: Duration::from_secs(2),
        ack_wait: Duration::from_secs(30),
        ack_pending_max: 2000,
        batch_max: 500,
        batch_bytes_max: 8 << 20,
        tenants_cached_max: 1000,
        ingest_keep: Duration::from_secs(3600),
        limits: Limits::STANDARD,
    }
}
