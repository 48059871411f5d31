//! Recomputes the chains from the stored columns (LED-9).

use std::collections::BTreeSet;
use std::num::NonZero;

use futures_util::TryStreamExt as _;
use logline_proof::SignedCheckpoint;
use logline_span::{Hash, Head, Position, Sealed, TenantId};
use sqlx::Row as _;
use sqlx::postgres::PgPool;
use tokio::task::JoinSet;

use crate::connection::{self, Config};
use crate::{Error, Failure, Progress, Report, Scope, VerifyError, row};

mod chain;
mod judge;
mod log;

use chain::Walk;
use judge::Stored;
use log::Log;

/// Positions that one task walks, and so how often progress is told.
const RANGE: i64 = 5_000;

/// Rows in memory at once per task, which are judged beside the reading of the next.
const GROUP: usize = 128;

/// The verifier's handle (role `logline_verifier`).
#[derive(Clone, Debug)]
pub struct Verifier {
    pub(crate) pool: PgPool,
    tasks: usize,
}

/// A stretch of one tenant's chain.
#[derive(Clone, Debug)]
struct Range {
    tenant: String,
    first: i64,
    last: i64,
}

impl Verifier {
    /// Prepares a handle; connections are opened when first needed.
    ///
    /// # Errors
    /// [`Error::Url`] where the address cannot be read.
    pub fn connect(config: &Config) -> Result<Self, Error> {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let connections = usize::try_from(config.connections_max).unwrap_or(usize::MAX);
        Ok(Self {
            pool: config.pool()?,
            // While one waits for rows, another's are judged.
            tasks: connections.clamp(1, cores.saturating_mul(2)),
        })
    }

    /// Recomputes everything in `scope`; `progress` is told how far it is, from time to time.
    ///
    /// # Errors
    /// [`VerifyError::Ledger`] while Postgres is away, [`VerifyError::ForeignCheckpoint`] where one is of another log. A row that cannot be
    /// decoded is a finding, not an error.
    pub async fn verify(
        &self,
        scope: &Scope,
        progress: impl Fn(Progress<'_>),
    ) -> Result<Report, VerifyError> {
        let log = connection::again(&self.pool, || connection::log_name(&self.pool)).await?;
        let chains = self.chains(scope).await?;
        let mut logs = self.logs(scope, &log, &chains).await?;
        let first = scope
            .from
            .map_or(1, |from| i64::try_from(from.get()).unwrap_or(i64::MAX));

        let mut report = Report {
            ok: true,
            anchored: scope.is_anchored(),
            tenants: u64::try_from(chains.len()).unwrap_or(u64::MAX),
            checked: 0,
            through: through(&chains),
            failures: Vec::new(),
        };
        let ranges: Vec<Range> = chains
            .into_iter()
            .flat_map(|(tenant, last)| ranges(&tenant, first, last))
            .collect();
        let mut left = ranges.iter().enumerate();
        // The numbers of the ranges that are not walked yet.
        let mut open: BTreeSet<usize> = (0..ranges.len()).collect();
        let mut running = JoinSet::new();
        loop {
            while running.len() < self.tasks
                && let Some((number, range)) = left.next()
            {
                let walking = walk(self.pool.clone(), log.clone(), range.clone());
                running.spawn(async move {
                    let (checked, failures) = walking.await?;
                    Ok((Some(number), checked, failures))
                });
            }
            // The rows have been read once by then.
            while running.len() < self.tasks
                && let Some(log) = logs.pop()
            {
                let pool = self.pool.clone();
                running.spawn(async move { Ok((None, 0, log::check(pool, log).await?)) });
            }
            let Some(walked) = running.join_next().await else {
                break;
            };
            let walked: Result<_, Error> =
                walked.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
            let (number, checked, failures) = walked?;
            report.checked += checked;
            report.add(failures);
            number.map(|number| open.remove(&number));
            let next = open.first().and_then(|number| ranges.get(*number));
            progress(Progress {
                checked: report.checked,
                next: next.map(|range| (range.tenant.as_str(), range.first)),
            });
        }
        report.ok = report.failures.is_empty();
        report.anchored &= report.ok;
        Ok(report)
    }

    /// Keeps what a verification found, for those who belong to the tenants (LED-9): nothing proves it but this ledger's word.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn record(&self, scope: &Scope, report: &Report) -> Result<(), Error> {
        const SQL: &str = "insert into ledger.verification (tenant_id, first_position, last_position, failures, anchored)
             select w.tenant, $1, w.last, w.failures, w.anchored
             from unnest($2::text[], $3::bigint[], $4::integer[], $5::boolean[]) w (tenant, last, failures, anchored)";
        let first = scope.from.map_or(1, Position::get);
        let failed = report
            .failures
            .iter()
            .map(|failure| failure.tenant.as_str());
        let through = report.through.keys().map(TenantId::as_str);
        let tenants: BTreeSet<&str> = through.chain(failed.clone()).collect();
        let last = |tenant: &&str| {
            let named = |(known, _): &(&TenantId, &Position)| known.as_str() == *tenant;
            let last = report.through.iter().find(named);
            last.map_or(0, |(_, position)| bind(position.get()))
        };
        let failures = |tenant: &&str| {
            let count = failed.clone().filter(|failed| failed == tenant).count();
            i32::try_from(count).unwrap_or(i32::MAX)
        };
        let anchored = |tenant: &&str| {
            let origin = |signed: &SignedCheckpoint| signed.checkpoint().origin.as_str().to_owned();
            let is_held = |signed: &SignedCheckpoint| {
                origin(signed)
                    .rsplit_once('/')
                    .is_some_and(|(_, of)| of == *tenant)
            };
            let is_held = scope.against.iter().any(is_held) || !scope.witnesses.is_empty();
            is_held && failures(tenant) == 0
        };
        sqlx::query(SQL)
            .bind(bind(first))
            .bind(tenants.iter().copied().collect::<Vec<_>>())
            .bind(tenants.iter().map(last).collect::<Vec<_>>())
            .bind(tenants.iter().map(failures).collect::<Vec<_>>())
            .bind(tenants.iter().map(anchored).collect::<Vec<_>>())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The logs of all chains in scope, and of those whose rows are gone but for the heads that cover them.
    async fn logs(
        &self,
        scope: &Scope,
        name: &str,
        chains: &[(String, i64)],
    ) -> Result<Vec<Log>, VerifyError> {
        const SIGNED: &str = "with recursive tenant (id) as (
                 (select tenant_id from ledger.checkpoint order by tenant_id limit 1)
                 union all
                 select (select c.tenant_id from ledger.checkpoint c where c.tenant_id > t.id order by c.tenant_id limit 1)
                 from tenant t where t.id is not null)
             select id from tenant t where id is not null";
        let signed: Vec<String> = sqlx::query_scalar(SIGNED).fetch_all(&self.pool).await?;
        let in_scope = |tenant: &str| {
            scope.tenants.is_empty() || scope.tenants.iter().any(|it| it.as_str() == tenant)
        };
        let mut tenants: BTreeSet<&str> =
            chains.iter().map(|(tenant, _)| tenant.as_str()).collect();
        tenants.extend(signed.iter().map(String::as_str).filter(|it| in_scope(it)));
        let mut outside = Vec::new();
        for signed in &scope.against {
            let origin = signed.checkpoint().origin.as_str();
            let tenant = origin
                .strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('/'))
                .filter(|tenant| in_scope(tenant));
            let tenant = tenant.ok_or_else(|| VerifyError::ForeignCheckpoint(origin.to_owned()))?;
            tenants.insert(tenant);
            outside.push((tenant, signed));
        }
        let log = |tenant: &str| Log {
            origin: format!("{name}/{tenant}"),
            tenant: tenant.to_owned(),
            outside: outside
                .iter()
                .filter(|(of, _)| *of == tenant)
                .map(|(_, signed)| (*signed).clone())
                .collect(),
            witnesses: scope.witnesses.clone(),
        };
        Ok(tenants.into_iter().map(log).collect())
    }

    /// The tenants and the ends of their chains, found by skipping from one to the next in the index.
    async fn chains(&self, scope: &Scope) -> Result<Vec<(String, i64)>, Error> {
        const ALL: &str = "with recursive tenant (id) as (
                 (select tenant_id from ledger.span order by tenant_id limit 1)
                 union all
                 select (select s.tenant_id from ledger.span s where s.tenant_id > t.id order by s.tenant_id limit 1)
                 from tenant t where t.id is not null)
             select id, (select max(position) from ledger.span s where s.tenant_id = t.id) from tenant t where id is not null";
        const SOME: &str = "select w.id, s.position from unnest($1::text[]) w (id)
             cross join lateral (select max(position) as position from ledger.span s where s.tenant_id = w.id) s
             where s.position is not null";
        let names: Vec<&str> = scope.tenants.iter().map(TenantId::as_str).collect();
        let query = if names.is_empty() {
            sqlx::query_as(ALL)
        } else {
            sqlx::query_as(SOME).bind(names)
        };
        Ok(query.fetch_all(&self.pool).await?)
    }
}

/// A tenant's log for someone who has neither database nor bus (LED-10): what stands around its spans.
#[derive(Clone, Debug)]
pub struct Exported {
    /// `<log>/<tenant>`.
    pub origin: String,
    /// The keys that the log has signed with, in the form of signed notes.
    pub keys: Vec<String>,
    /// The newest signed head, as a signed note.
    pub checkpoint: SignedCheckpoint,
}

impl Verifier {
    /// What an export of a tenant's log begins and ends with; none where no head of it is signed yet. With `cosigned` it ends with the
    /// newest head that a witness has cosigned.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away, [`Error::Undecodable`] where the newest head cannot be read.
    pub async fn exported(
        &self,
        tenant: &TenantId,
        cosigned: bool,
    ) -> Result<Option<Exported>, Error> {
        const NEWEST: &str =
            "select note from ledger.head where tenant_id = $1 order by size desc limit 1";
        const COSIGNED: &str = "select note from ledger.head where tenant_id = $1
             and size = (select size from ledger.cosignature where tenant_id = $1 order by size desc limit 1)";
        let log = connection::again(&self.pool, || connection::log_name(&self.pool)).await?;
        let note: Option<String> = sqlx::query_scalar(if cosigned { COSIGNED } else { NEWEST })
            .bind(tenant.as_str())
            .fetch_optional(&self.pool)
            .await?;
        let Some(note) = note else { return Ok(None) };
        let keys = sqlx::query_scalar(
            "select key from ledger.log_key where tenant_id = $1 order by since",
        );
        Ok(Some(Exported {
            origin: format!("{log}/{tenant}"),
            keys: keys.bind(tenant.as_str()).fetch_all(&self.pool).await?,
            checkpoint: note.parse().map_err(|_| Error::Undecodable {
                tenant: tenant.to_string(),
                position: 0,
                column: "note",
            })?,
        }))
    }

    /// Up to `limit` spans of a tenant's chain behind a position, in order.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away, [`Error::Undecodable`] where one cannot be read.
    pub async fn spans(
        &self,
        tenant: &TenantId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Sealed>, Error> {
        const SQL: &str = concat!(
            "select ",
            row::columns!(),
            " from ledger.span where tenant_id = $1 and position > $2 order by position limit $3"
        );
        let rows = sqlx::query(SQL)
            .bind(tenant.as_str())
            .bind(i64::try_from(after).unwrap_or(i64::MAX))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(row::decode_or_fail).collect()
    }
}

impl Report {
    /// Keeps the first failures in the order of tenant and position.
    fn add(&mut self, failures: Vec<Failure>) {
        self.failures.extend(failures);
        self.failures
            .sort_by(|a, b| (&a.tenant, a.position, a.part).cmp(&(&b.tenant, b.position, b.part)));
        self.failures.truncate(Self::FAILURES_MAX);
    }
}

fn through(chains: &[(String, i64)]) -> std::collections::BTreeMap<TenantId, Position> {
    chains
        .iter()
        .filter_map(|(tenant, last)| {
            Some((
                tenant.parse().ok()?,
                Position::new(u64::try_from(*last).ok()?)?,
            ))
        })
        .collect()
}

fn ranges(tenant: &str, first: i64, last: i64) -> impl Iterator<Item = Range> + use<> {
    let tenant = tenant.to_owned();
    let starts = std::iter::successors(Some(first), |start| start.checked_add(RANGE));
    starts
        .take_while(move |start| *start <= last)
        .map(move |start| Range {
            tenant: tenant.clone(),
            first: start,
            last: start.saturating_add(RANGE - 1).min(last),
        })
}

/// Walks one range, with its neighbours at both ends: the row before says what the first must link to, the row after which of two
/// hashes the last one had.
async fn walk(pool: PgPool, log: String, range: Range) -> Result<(u64, Vec<Failure>), Error> {
    const SQL: &str = concat!(
        "select ",
        row::columns!(),
        " from ledger.span where tenant_id = $1 and position between $2 and $3 order by position"
    );
    let mut rows = sqlx::query(SQL)
        .bind(range.tenant.clone())
        .bind(range.first.saturating_sub(1))
        .bind(range.last.saturating_add(1))
        .fetch(&pool);
    let genesis =
        (range.first == 1).then(|| Head::genesis(&format!("{log}/{}", range.tenant)).hash);
    let mut walk = Walk::new(range, genesis);
    let mut group: Vec<Stored> = Vec::with_capacity(GROUP);
    loop {
        let row = rows.try_next().await?;
        let ended = row.is_none();
        if let Some(row) = row {
            group.push(Stored {
                position: row.try_get("position")?,
                row: row::decode(&row),
                marks: judge::marks(&row),
            });
        }
        if ended || group.len() == GROUP {
            let judged = std::mem::replace(&mut group, Vec::with_capacity(GROUP));
            let judging = tokio::task::spawn_blocking(move || judge::judge(judged));
            let judged = judging
                .await
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
            judged.into_iter().for_each(|judged| walk.step(judged));
        }
        if ended {
            return Ok(walk.finish());
        }
    }
}

fn bind(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Whether two optional hashes are there and the same.
fn same(a: Option<Hash>, b: Option<Hash>) -> bool {
    a.is_some() && a == b
}
