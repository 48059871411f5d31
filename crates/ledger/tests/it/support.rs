use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use logline_ledger::{
    Actors, Batch, CommitError, Config, Fingerprint, IdentityKey, Provision, Reader, Role,
    RolePassword, Row, ShardState, Verifier, Writer,
};
use logline_span::{
    Head, Json, Principal, Sealed, Seq, Span, SpanId, TenantId, Timestamp, TraceId, Visibility,
};
use logline_testkit::{Database, Postgres};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

/// Roles belong to the cluster that all tests share, so all of them set the same.
const PASSWORD: &str = "it's a test";

pub(crate) const LOG: &str = "log.example";

/// 2026-01-01
pub(crate) const NEW_YEAR: i64 = 1_767_225_600_000_000;

pub(crate) fn provision() -> Provision {
    Provision {
        log_name: LOG.to_owned(),
        identity_key: key(),
        passwords: Role::ALL
            .map(|role| RolePassword {
                role,
                password: PASSWORD.to_owned(),
            })
            .to_vec(),
    }
}

pub(crate) fn key() -> IdentityKey {
    IdentityKey::from_bytes([7; 32])
}

/// A migrated database of one test.
pub(crate) struct Ledger {
    pub(crate) database: Database,
}

impl Ledger {
    pub(crate) async fn fresh() -> Self {
        let database = Postgres::shared().database().await;
        logline_ledger::migrate(&database.url(), &provision())
            .await
            .unwrap();
        Self { database }
    }

    pub(crate) fn config(&self, role: Role) -> Config {
        Config {
            url: self.database.url_as(
                role.name(),
                &PASSWORD.replace(' ', "%20").replace('\'', "%27"),
            ),
            connections_max: 3,
            acquire_timeout: Duration::from_secs(20),
            application_name: "test".to_owned(),
        }
    }

    pub(crate) fn writer(&self) -> Writer {
        Writer::connect(&self.config(Role::Projector)).unwrap()
    }

    pub(crate) fn reader(&self) -> Reader {
        Reader::connect(&self.config(Role::Reader), key()).unwrap()
    }

    pub(crate) fn verifier(&self) -> Verifier {
        Verifier::connect(&self.config(Role::Verifier)).unwrap()
    }

    pub(crate) fn actors(&self) -> Actors {
        Actors::connect(&self.config(Role::Actor)).unwrap()
    }

    pub(crate) async fn admin(&self) -> PgConnection {
        PgConnection::connect(&self.database.url()).await.unwrap()
    }

    pub(crate) async fn login(&self, role: Role) -> PgConnection {
        PgConnection::connect(&self.config(role).url).await.unwrap()
    }

    pub(crate) async fn sealer(&self) -> Sealer {
        let writer = self.writer();
        let state = writer.acquire(0).await.unwrap();
        Sealer {
            writer,
            state,
            heads: HashMap::new(),
        }
    }
}

/// A projector without a bus.
pub(crate) struct Sealer {
    pub(crate) writer: Writer,
    pub(crate) state: ShardState,
    pub(crate) heads: HashMap<TenantId, Head>,
}

impl Sealer {
    /// Gives spans their places, one microsecond after the other; nothing is remembered until it is committed.
    pub(crate) fn prepare(&self, spans: Vec<Span>) -> (Batch, HashMap<TenantId, Head>) {
        let mut heads = self.heads.clone();
        let first = self.state.ingest_seq + 1;
        let rows: Vec<Row> = spans
            .into_iter()
            .zip(first..)
            .map(|(span, ingest_seq)| {
                let head = heads
                    .entry(span.tenant_id.clone())
                    .or_insert_with(|| Head::genesis(&format!("{LOG}/{}", span.tenant_id)));
                let content_hash = span.content_hash();
                let publisher = span.owner_id.clone();
                let time = time(i64::try_from(ingest_seq).unwrap());
                let sealed = Arc::new(head.seal(span, content_hash, publisher, time));
                Row {
                    sealed,
                    content_hash,
                    depth: 3,
                    ingest_seq,
                    fingerprint: fingerprint(ingest_seq),
                }
            })
            .collect();
        let through = self.state.ingest_seq + u64::try_from(rows.len()).unwrap();
        let batch = Batch {
            shard: 0,
            epoch: self.state.epoch,
            after_ingest_seq: self.state.ingest_seq,
            through_ingest_seq: through,
            through: Some(fingerprint(through)),
            sealed_through: heads
                .values()
                .map(|head| head.received_at)
                .max()
                .unwrap_or(self.state.sealed_through),
            timeline_first: self.state.timeline_seq + 1,
            rows,
            answered: Vec::new(),
        };
        (batch, heads)
    }

    pub(crate) async fn commit(
        &mut self,
        batch: &Batch,
        heads: HashMap<TenantId, Head>,
    ) -> Result<(), CommitError> {
        self.writer.commit(batch).await?;
        self.heads = heads;
        self.state.ingest_seq = batch.through_ingest_seq;
        self.state.ingest = batch.through;
        self.state.sealed_through = batch.sealed_through;
        self.state.timeline_seq += u64::try_from(batch.rows.len()).unwrap();
        Ok(())
    }

    pub(crate) async fn seal(&mut self, spans: Vec<Span>) -> Vec<Sealed> {
        let (batch, heads) = self.prepare(spans);
        self.commit(&batch, heads).await.unwrap();
        batch
            .rows
            .into_iter()
            .map(|row| Sealed::clone(&row.sealed))
            .collect()
    }

    pub(crate) async fn seal_one(&mut self, span: Span) -> Sealed {
        self.seal(vec![span]).await.remove(0)
    }
}

/// Of a message that the bus took as many seconds into the year as its number says.
pub(crate) fn fingerprint(ingest_seq: u64) -> Fingerprint {
    let mut digest = [0; 16];
    digest[..8].copy_from_slice(&ingest_seq.to_be_bytes());
    let time_ns = time(i64::try_from(ingest_seq).unwrap()).as_micros() * 1000;
    Fingerprint { digest, time_ns }
}

/// So many seconds into the year.
pub(crate) fn time(seconds: i64) -> Timestamp {
    Timestamp::from_micros(NEW_YEAR + seconds * 1_000_000)
}

pub(crate) fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

pub(crate) fn principal(name: &str) -> Principal {
    name.parse().unwrap()
}

pub(crate) fn person(tenant_name: &str, name: &str) -> logline_span::Reader {
    logline_span::Reader {
        tenant: tenant(tenant_name),
        principal: principal(name),
    }
}

pub(crate) fn json(text: &str) -> Option<Json> {
    Some(Json::parse(text.as_bytes()).unwrap())
}

/// The least span there is, private.
pub(crate) fn span(tenant_name: &str, owner: &str) -> Span {
    let id = SpanId::from_uuid(Uuid::now_v7());
    Span {
        id,
        seq: Seq::ZERO,
        entity_type: "activity".parse().unwrap(),
        who: owner.to_owned(),
        did: None,
        this: "door".to_owned(),
        at: Timestamp::from_micros(NEW_YEAR),
        parent_id: None,
        related_to: Vec::new(),
        caused_by: None,
        trace_id: TraceId::of(id),
        owner_id: principal(owner),
        tenant_id: tenant(tenant_name),
        visibility: Visibility::Private,
        status: None,
        is_deleted: false,
        name: None,
        description: None,
        code: None,
        language: None,
        runtime: None,
        input: None,
        output: None,
        error: None,
        content: None,
        metadata: None,
        duration_ms: None,
        idempotency_key: None,
        signature: None,
        public_key: None,
        at_given: true,
        trace_given: true,
    }
}

pub(crate) fn with(mut span: Span, change: impl FnOnce(&mut Span)) -> Span {
    change(&mut span);
    span
}

/// The next version of a span.
pub(crate) fn next(sealed: &Sealed, change: impl FnOnce(&mut Span)) -> Span {
    let mut span = sealed.span.clone();
    span.seq = Seq::new(span.seq.get() + 1).unwrap();
    span.signature = None;
    span.public_key = None;
    change(&mut span);
    span
}

/// The SQLSTATE of a refused statement.
pub(crate) fn state<T: std::fmt::Debug>(outcome: Result<T, sqlx::Error>) -> String {
    let error = outcome.unwrap_err();
    error
        .as_database_error()
        .unwrap_or_else(|| panic!("{error}"))
        .code()
        .unwrap()
        .into_owned()
}
