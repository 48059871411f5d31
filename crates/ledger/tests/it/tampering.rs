//! Random tampering by someone who owns the database: each is found, in the right row and part, and nothing is found where nothing was
//! done (LED-9).
//!
//! `LOGLINE_TAMPER_RUNS` sets how many and `LOGLINE_TAMPER_SEED` which; `cargo xtask tamper` does both.

mod column;
mod head;
mod history;
mod proof;

use std::collections::BTreeMap;
use std::time::Instant;

use logline_ledger::{Part, Report, Scope, Verifier};
use logline_proof::{
    Algorithm, KeyName, Origin, Policy, SignatureLine, SignedCheckpoint, VerifierKey,
};
use logline_span::{Sealed, SigningKey};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sqlx::PgConnection;

use crate::support::{LOG, Ledger};
use crate::verifying::{full, log_key, sign};

/// Tamperings in the suite; the long run has more.
const RUNS: u64 = 200;
/// Rows of each small chain.
const ROWS: usize = 24;
/// Sizes of the small chains' heads, and those that a witness has cosigned.
const HEADS: [u64; 4] = [1, 8, 16, 24];
const COSIGNED: [u64; 2] = [16, 24];
/// Rows of the chain that has a stored node.
const TALL_ROWS: usize = 300;
const TALL_HEADS: [u64; 3] = [100, 260, 300];
/// The untouched ledger is verified once in so many runs.
const UNTOUCHED_EVERY: u64 = 4;
/// Dead rows are swept away once in so many runs.
const VACUUM_EVERY: u64 = 500;

const TABLES: [&str; 6] = [
    "span",
    "checkpoint",
    "node",
    "cosignature",
    "log_key",
    "log",
];

/// A ledger that a tampering is done to.
struct Stage {
    ledger: Ledger,
    admin: PgConnection,
    verifier: Verifier,
    /// The rows of the chain `acme` as they were sealed.
    rows: Vec<Sealed>,
    /// The newest checkpoint of `acme`, kept outside.
    kept: SignedCheckpoint,
}

/// What a tampering is, and what must be named.
struct Done {
    kind: String,
    tenant: &'static str,
    position: i64,
    /// Any of these: the last row has no successor that tells which of two hashes was altered.
    parts: Vec<Part>,
    /// Whether no other row may be named, heads aside.
    is_exact: bool,
    scope: Scope,
}

impl Done {
    fn new(kind: impl Into<String>, position: impl TryInto<i64>, part: Part) -> Self {
        Self {
            kind: kind.into(),
            tenant: "acme",
            position: position.try_into().unwrap_or(i64::MAX),
            parts: vec![part],
            is_exact: false,
            scope: Scope::default(),
        }
    }

    fn exactly(self) -> Self {
        Self {
            is_exact: true,
            ..self
        }
    }

    fn check(&self, report: &Report) -> Result<(), String> {
        let fail = |what: &str| {
            Err(format!(
                "{what}: {} at {}/{}: {:?}",
                self.kind, self.tenant, self.position, report.failures
            ))
        };
        if report.ok || report.anchored {
            return fail("not found");
        }
        let mut own = report.failures.iter().filter(|it| it.tenant == self.tenant);
        let Some(first) = own.next() else {
            return fail("found elsewhere");
        };
        if first.position != self.position || !self.parts.contains(&first.part) {
            return fail("misnamed");
        }
        let is_other = |it: &&logline_ledger::Failure| {
            it.position != self.position && it.part != Part::Checkpoint
        };
        if self.is_exact && report.failures.iter().any(|it| is_other(&it)) {
            return fail("others named");
        }
        Ok(())
    }
}

fn witness_key() -> SigningKey {
    SigningKey::from_seed(&[31; 32])
}

fn witness() -> VerifierKey {
    let name = "w.example/one".parse().unwrap();
    VerifierKey::new(name, Algorithm::CosignatureV1, witness_key().public_key())
}

fn policy() -> Policy {
    let name: KeyName = format!("{LOG}/acme").parse().unwrap();
    Policy {
        log: VerifierKey::new(name, Algorithm::Ed25519, log_key().public_key()),
        witnesses: vec![witness()],
        threshold: 1,
    }
}

impl Stage {
    /// Two small chains, half of their rows signed by authors.
    async fn small() -> Self {
        let spans = (0..2 * ROWS).map(|nth| full(["acme", "beta"][nth % 2], nth % 4 < 2));
        let mut stage = Self::of(spans.collect(), &HEADS).await;
        sign(&mut stage.admin, "beta", &HEADS).await;
        for size in COSIGNED {
            stage.cosign(size).await;
        }
        stage.kept = stage.head(24).await;
        stage.ready().await
    }

    /// A chain that is long enough for a stored node of its tree.
    async fn tall() -> Self {
        let spans = (0..TALL_ROWS).map(|_| full("acme", false));
        let stage = Self::of(spans.collect(), &TALL_HEADS).await;
        stage.ready().await
    }

    async fn of(spans: Vec<logline_span::Span>, heads: &[u64]) -> Self {
        let ledger = Ledger::fresh().await;
        let sealed = ledger.sealer().await.seal(spans).await;
        let mut admin = ledger.admin().await;
        let kept = sign(&mut admin, "acme", heads).await;
        let is_own = |sealed: &Sealed| sealed.span.tenant_id.as_str() == "acme";
        Self {
            verifier: ledger.verifier(),
            rows: sealed.into_iter().filter(is_own).collect(),
            kept,
            admin,
            ledger,
        }
    }

    /// Opens the tables to the owner of the server, and remembers what they hold.
    async fn ready(mut self) -> Self {
        for table in TABLES {
            let trigger = if table == "span" { "ur" } else { table };
            if table != "log" {
                self.sql(&format!(
                    "alter table ledger.{table} disable trigger {trigger}_no_update"
                ))
                .await;
            }
            self.sql(&format!(
                "create table public.kept_{table} as select * from ledger.{table}"
            ))
            .await;
        }
        self.sql("create table public.scratch (like ledger.span)")
            .await;
        self
    }

    async fn sql(&mut self, statement: &str) {
        sqlx::raw_sql(statement)
            .execute(&mut self.admin)
            .await
            .unwrap();
    }

    /// A statement that Postgres itself may refuse, for a bound or a key of the table; says whether it changed anything.
    async fn attempt(&mut self, statement: &str) -> bool {
        let outcome = sqlx::raw_sql(statement).execute(&mut self.admin).await;
        outcome.is_ok_and(|outcome| outcome.rows_affected() > 0)
    }

    async fn cosign(&mut self, size: u64) {
        let signed = self.head(size).await;
        let line = SignatureLine::cosign(
            signed.note().text(),
            witness().name(),
            &witness_key(),
            1_700_000_000,
        );
        sqlx::query("insert into ledger.cosignature (tenant_id, size, witness, line, cosigned_at) values ('acme', $1, $2, $3, to_timestamp(1700000000))")
            .bind(i64::try_from(size).unwrap())
            .bind(witness().to_string())
            .bind(line.to_string())
            .execute(&mut self.admin)
            .await
            .unwrap();
    }

    async fn head(&mut self, size: u64) -> SignedCheckpoint {
        let note: String = sqlx::query_scalar(
            "select note from ledger.head where tenant_id = 'acme' and size = $1",
        )
        .bind(i64::try_from(size).unwrap())
        .fetch_one(&mut self.admin)
        .await
        .unwrap();
        note.parse().unwrap()
    }

    async fn verify(&self, scope: &Scope) -> Report {
        self.verifier.verify(scope, |_| ()).await.unwrap()
    }

    /// Puts back what was there: the rows that differ, and no others.
    async fn restore(&mut self) {
        for table in TABLES {
            self.sql(&format!(
                "delete from ledger.{table} t where not exists (select from public.kept_{table} k where k::text = t::text);
                 insert into ledger.{table} select k.* from public.kept_{table} k
                 where not exists (select from ledger.{table} t where k::text = t::text);"
            ))
            .await;
        }
    }
}

/// Counts what was done, by kind.
#[derive(Default)]
struct Tally {
    kinds: BTreeMap<String, u64>,
    untouched: u64,
}

/// The next tampering, at one of the stages or with a file.
async fn tamper(small: &mut Stage, tall: &mut Stage, rng: &mut StdRng) -> (Done, bool) {
    match rng.random_range(0..100) {
        0..60 => (column::tamper(small, rng).await, true),
        60..80 => (history::tamper(small, rng).await, true),
        80..95 => (head::tamper(small, rng).await, true),
        _ => (head::tamper_node(tall, rng).await, false),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::disallowed_methods,
    reason = "the long run says how many and which in the environment"
)]
async fn led_9_every_random_tampering_is_found_and_named_and_nothing_else_is() {
    let number = |name: &str, default: u64| {
        let text = std::env::var(name).ok();
        text.map_or(default, |text| text.parse().unwrap())
    };
    let (runs, seed) = (
        number("LOGLINE_TAMPER_RUNS", RUNS),
        number("LOGLINE_TAMPER_SEED", 1),
    );
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut small, mut tall) = (Stage::small().await, Stage::tall().await);
    let files = proof::Files::of(&small).await;
    let (mut tally, began) = (Tally::default(), Instant::now());
    for run in 0..runs {
        if run % 10 == 9 {
            let kind = files.tamper(&mut rng);
            *tally.kinds.entry(kind).or_default() += 1;
            continue;
        }
        let (done, is_small) = tamper(&mut small, &mut tall, &mut rng).await;
        let stage = if is_small { &mut small } else { &mut tall };
        let report = stage.verify(&done.scope).await;
        if let Err(error) = done.check(&report) {
            panic!("run {run} of seed {seed}: {error}");
        }
        *tally.kinds.entry(done.kind).or_default() += 1;
        stage.restore().await;
        if run % UNTOUCHED_EVERY == 0 {
            let whole = stage.verify(&Scope::default()).await;
            assert!(
                whole.ok,
                "a false alarm after run {run} of seed {seed}: {:?}",
                whole.failures
            );
            tally.untouched += 1;
        }
        if run % VACUUM_EVERY == 0 {
            stage.sql("vacuum ledger.span").await;
        }
    }
    for (kind, count) in &tally.kinds {
        println!("{count:>6}  {kind}");
    }
    println!(
        "{runs} tamperings found and named, {} verifications of the untouched ledger without alarm, in {:.0?}",
        tally.untouched,
        began.elapsed()
    );
    let whole = small.verify(&anchored(&small)).await;
    assert!(whole.ok && whole.anchored, "{:?}", whole.failures);
}

/// Held against the checkpoint outside and the witness.
fn anchored(stage: &Stage) -> Scope {
    Scope {
        tenants: vec!["acme".parse().unwrap()],
        against: vec![stage.kept.clone()],
        witnesses: vec![witness()],
        ..Scope::default()
    }
}

/// The smallest of these sizes that is at least so large.
fn at_least(sizes: &[u64], size: u64) -> u64 {
    *sizes.iter().find(|it| **it >= size).unwrap()
}

fn origin() -> Origin {
    format!("{LOG}/acme").parse().unwrap()
}

/// A text with one character changed, added or taken away.
fn changed(text: &str, rng: &mut StdRng) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    let place = rng.random_range(0..=characters.len());
    let letter = char::from(rng.random_range(b' '..=b'~'));
    match (rng.random_range(0..3), characters.get(place)) {
        (0, Some(_)) => {
            characters.remove(place);
        }
        (1, Some(old)) => {
            let bit = 1 << rng.random_range(0..7);
            let turned = char::from_u32(u32::from(*old) ^ bit).filter(|new| *new != '\0');
            characters[place] = turned.unwrap_or(letter);
        }
        _ => characters.insert(place, letter),
    }
    characters.into_iter().collect()
}

/// Bytes with one bit turned, or one byte more or less.
fn turned(bytes: &[u8], rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    match rng.random_range(0..10) {
        0 => bytes.push(rng.random()),
        1 => {
            bytes.pop();
        }
        _ => {
            let place = rng.random_range(0..bytes.len());
            bytes[place] ^= 1 << rng.random_range(0..8);
        }
    }
    bytes
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn hexed(bytes: &[u8]) -> String {
    format!("'\\x{}'::bytea", hex::encode(bytes))
}
