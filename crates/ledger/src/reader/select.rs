//! The statements of readers. Row-level security decides what they may see; the conditions here say where to look, so
//! that each part has an index in the order of the answer.

use logline_span::{Seq, SpanId, TenantId, Timestamp};
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use crate::query::{AsOf, Cursor, Query};
use crate::row::{bind_time, columns};

const SELECT: &str = concat!("select ", columns!(), " from ledger.readable r where ");

/// Where a look-up by id goes.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    Tenant(&'a str),
    Public,
}

/// A version, or the latest. A version that was replaced is never the latest, even where its successor may not be read.
pub(super) fn by_id(
    place: Place<'_>,
    id: SpanId,
    seq: Option<Seq>,
    as_of: AsOf,
) -> QueryBuilder<'static, Postgres> {
    let mut sql = QueryBuilder::new(SELECT);
    sql.push("r.id = ").push_bind(*id.as_uuid());
    match place {
        Place::Tenant(tenant) => sql.push(" and r.tenant_id = ").push_bind(tenant.to_owned()),
        Place::Public => sql.push(" and r.visibility = 'public'"),
    };
    if let AsOf::At(at) = as_of {
        sql.push(" and r.received_at <= ").push_bind(bind_time(at));
    }
    match seq {
        Some(seq) => {
            sql.push(" and r.seq = ").push_bind(seq.get().cast_signed());
        }
        None => latest(&mut sql, as_of),
    }
    // Ids are a tenant's own: of several public spans with one id, the one whose first version was sealed first is meant, which nobody
    // can undercut, not even by waiting for its next version.
    sql.push(" order by r.first_received_at, r.tenant_id limit 1");
    sql
}

/// A page, newest sealed first. What a reader may see lies in the own tenant and among what is public: two walks in order, merged.
pub(super) fn timeline(
    query: &Query,
    own: Option<&TenantId>,
    limit: u32,
) -> QueryBuilder<'static, Postgres> {
    let fetched = i64::from(limit) + 1;
    let own = own.filter(|own| query.tenant_id.as_ref().is_none_or(|wanted| wanted == *own));
    let public = query.tenant_id.is_none() || own.is_none();
    let mut sql = QueryBuilder::new("select * from (");
    if let Some(own) = own {
        sql.push("(")
            .push(SELECT)
            .push("r.tenant_id = ")
            .push_bind(own.as_str().to_owned());
        if let Some(at) = bound(query) {
            // A bound on the position keeps the walk from starting at rows that are too new.
            sql.push(" and r.position <= (select ledger.position_at(")
                .push_bind(bind_time(at));
            sql.push("))");
        }
        conditions(&mut sql, query);
        sql.push(" order by r.position desc limit ")
            .push_bind(fetched)
            .push(")");
    }
    if own.is_some() && public {
        sql.push(" union all ");
    }
    if public {
        sql.push("(").push(SELECT).push("r.visibility = 'public'");
        if let Some(own) = own {
            sql.push(" and r.tenant_id <> ")
                .push_bind(own.as_str().to_owned());
        }
        if let Some(tenant) = &query.tenant_id {
            sql.push(" and r.tenant_id = ")
                .push_bind(tenant.as_str().to_owned());
        }
        if let Some(at) = bound(query) {
            sql.push(" and r.received_at <= ").push_bind(bind_time(at));
        }
        conditions(&mut sql, query);
        sql.push(" order by r.received_at desc, r.tenant_id desc, r.position desc limit ")
            .push_bind(fetched)
            .push(")");
    }
    sql.push(") page order by received_at desc, tenant_id desc, position desc limit ")
        .push_bind(fetched);
    sql
}

/// The latest `received_at` that a page may hold.
fn bound(query: &Query) -> Option<Timestamp> {
    let as_of = match query.as_of {
        AsOf::Latest => None,
        AsOf::At(at) => Some(at),
    };
    let cursor = query.cursor.as_ref().map(|cursor| cursor.received_at);
    [as_of, cursor].into_iter().flatten().min()
}

fn conditions(sql: &mut QueryBuilder<'static, Postgres>, query: &Query) {
    sql.push(" and not r.is_deleted");
    latest(sql, query.as_of);
    let texts = [
        (
            "entity_type",
            query
                .entity_type
                .as_ref()
                .map(|text| text.as_str().to_owned()),
        ),
        (
            "owner_id",
            query.owner_id.as_ref().map(|text| text.as_str().to_owned()),
        ),
        ("who", query.who.clone()),
        (
            "status",
            query.status.as_ref().map(|text| text.as_str().to_owned()),
        ),
        ("trace_id", query.trace_id.map(|trace| trace.to_string())),
    ];
    for (column, text) in texts {
        if let Some(text) = text {
            sql.push(" and r.").push(column).push(" = ").push_bind(text);
        }
    }
    if let Some(parent) = query.parent_id {
        sql.push(" and r.parent_id = ")
            .push_bind::<Uuid>(*parent.as_uuid());
    }
    if let Some(target) = query.related_to {
        sql.push(" and (r.tenant_id, r.position) in (select e.tenant_id, e.position from ledger.related e where e.target = ")
            .push_bind::<Uuid>(*target.as_uuid())
            .push(")");
    }
    for (comparison, at) in [
        (" and r.at >= ", query.since),
        (" and r.at <= ", query.until),
    ] {
        if let Some(at) = at {
            sql.push(comparison).push_bind(bind_time(at));
        }
    }
    if let Some(Cursor {
        received_at,
        tenant,
        position,
    }) = &query.cursor
    {
        sql.push(" and (r.received_at, r.tenant_id, r.position) < (")
            .push_bind(bind_time(*received_at));
        sql.push(", ")
            .push_bind(tenant.as_str().to_owned())
            .push(", ")
            .push_bind(i64::try_from(position.get()).unwrap_or(i64::MAX))
            .push(")");
    }
}

/// Holds for the version that was the latest as of then.
fn latest(sql: &mut QueryBuilder<'static, Postgres>, as_of: AsOf) {
    sql.push(" and (r.superseded_at is null");
    if let AsOf::At(at) = as_of {
        sql.push(" or r.superseded_at > ").push_bind(bind_time(at));
    }
    sql.push(")");
}
