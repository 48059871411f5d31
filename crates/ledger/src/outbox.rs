//! What clients inserted into the registry and nobody has sealed or refused yet (SQL-1).

use futures_util::TryStreamExt as _;
use logline_span::Refusal;
use sqlx::Row as _;
use sqlx::postgres::{PgListener, PgPool, PgRow};

use crate::connection::{self, Config};
use crate::{Error, row};

/// Where the outbox says that it was filled.
const CHANNEL: &str = "ledger_outbox";

/// The relay's handle (role `logline_outbox`). Clones share it.
#[derive(Clone, Debug)]
pub struct Outbox {
    pool: PgPool,
    config: Config,
}

/// Which row of the outbox; they rise in the order of insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaitingId(i64);

/// A row of the outbox. Its owner has been proved, the rest is as it was inserted.
#[derive(Clone)]
pub struct Waiting {
    /// Which row.
    pub id: WaitingId,
    /// The tenant that the inserting session belongs to.
    pub tenant: String,
    /// Whom the inserting session reads and writes as.
    pub owner: String,
    /// What kind of span it is.
    pub entity_type: String,
    /// The span in JSON, as clients of the bus publish it.
    pub body: String,
}

impl std::fmt::Debug for Waiting {
    /// No content (SPAN-5).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// What became of a row.
#[derive(Clone, Debug)]
pub struct Settled {
    /// Which row.
    pub id: WaitingId,
    /// Why it was refused; none where it is sealed.
    pub refusal: Option<Refusal>,
}

/// Says when the outbox was filled.
#[derive(Debug)]
pub struct Notices(PgListener);

impl Outbox {
    /// Prepares a handle; connections are opened when first needed.
    ///
    /// # Errors
    /// [`Error::Url`] where the address cannot be read.
    pub fn connect(config: &Config) -> Result<Self, Error> {
        Ok(Self {
            pool: config.pool()?,
            config: config.clone(),
        })
    }

    /// Listens from now on, over a connection of its own. What was inserted before is found by [`Outbox::waiting`].
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn listen(&self) -> Result<Notices, Error> {
        let pool = self.config.listening()?;
        connection::answered(async {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.eager_reconnect(false);
            listener.listen(CHANNEL).await?;
            Ok(Notices(listener))
        })
        .await
    }

    /// The oldest rows except these, at least one where there is one, and no more than memory should hold at once.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away.
    pub async fn waiting(&self, except: &[WaitingId], limit: u32) -> Result<Vec<Waiting>, Error> {
        const SQL: &str = "select number, tenant_id, owner_id, entity_type, body from ledger.outbox
             where number <> all($1) order by number limit $2";
        let except: Vec<i64> = except.iter().map(|id| id.0).collect();
        let read = || async {
            let query = sqlx::query(SQL).bind(&except).bind(i64::from(limit));
            let mut rows = query.fetch(&self.pool);
            let (mut waiting, mut bytes) = (Vec::new(), 0);
            while bytes < row::READ_BYTES_MAX
                && let Some(row) = rows.try_next().await?
            {
                bytes += row::bytes(&row);
                waiting.push(decode(&row)?);
            }
            Ok(waiting)
        };
        connection::again(&self.pool, read).await
    }

    /// Takes rows out of the outbox, and keeps why each refused one was. A row that is gone stays so.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while Postgres is away; doing it again is harmless.
    pub async fn settle(&self, settled: &[Settled]) -> Result<(), Error> {
        const SQL: &str = "with gone as (
                 delete from ledger.outbox o using unnest($1::bigint[], $2::text[], $3::text[], $4::text[]) s (number, code, pointer, detail)
                 where o.number = s.number
                 returning o.inserted_at, o.id as outbox_id, (o.body::jsonb ->> 'id')::uuid as id, (o.body::jsonb ->> 'seq')::integer as seq,
                     o.tenant_id, o.owner_id, o.entity_type, s.code, s.pointer, s.detail)
             insert into ledger.refusal (inserted_at, outbox_id, id, seq, tenant_id, owner_id, entity_type, code, pointer, detail)
             select inserted_at, outbox_id, id, seq, tenant_id, owner_id, entity_type, code, pointer, detail from gone where code is not null";
        let ids: Vec<i64> = settled.iter().map(|settled| settled.id.0).collect();
        let texts = |text: fn(&Refusal) -> &str| -> Vec<Option<&str>> {
            settled
                .iter()
                .map(|settled| settled.refusal.as_ref().map(text))
                .collect()
        };
        let codes = texts(|refusal| refusal.code.as_str());
        let (pointers, details) = (
            texts(|refusal| &refusal.pointer),
            texts(|refusal| &refusal.detail),
        );
        let write = || async {
            let query = sqlx::query(SQL)
                .bind(&ids)
                .bind(&codes)
                .bind(&pointers)
                .bind(&details);
            query.execute(&self.pool).await?;
            Ok(())
        };
        connection::again(&self.pool, write).await
    }
}

impl Notices {
    /// Waits until the outbox was filled.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where the connection was lost: then listen anew, and look, since what was said meanwhile was not heard.
    pub async fn filled(&mut self) -> Result<(), Error> {
        match self.0.try_recv().await? {
            Some(_) => Ok(()),
            None => Err(Error::Unavailable(sqlx::Error::Io(
                std::io::ErrorKind::ConnectionAborted.into(),
            ))),
        }
    }
}

fn decode(row: &PgRow) -> Result<Waiting, Error> {
    Ok(Waiting {
        id: WaitingId(row.try_get("number")?),
        tenant: row.try_get("tenant_id")?,
        owner: row.try_get("owner_id")?,
        entity_type: row.try_get("entity_type")?,
        body: row.try_get("body")?,
    })
}
