-- The registry's table, what lies beside it, and what readers see of it.

grant usage on schema ledger to logline_views, logline_client, logline_reader, logline_actor, logline_verifier, logline_projector;

-- A tenant's origin is <log>/<tenant>; every chain begins with its hash.
create table ledger.log (
    only_one boolean primary key default true check (only_one),
    name text not null
);

-- One row per sealed version. Every column is covered by curr_hash. JSON columns hold canonical text (RFC 8785) as it was hashed: `json` keeps it to
-- the character, jsonb would print numbers its own way. Columns are ordered by alignment.
create table ledger.span (
    position bigint not null check (position > 0),
    received_at timestamptz not null,
    at timestamptz not null,
    seq integer not null check (seq >= 0),
    duration_ms integer,
    id uuid not null,
    parent_id uuid,
    caused_by uuid,
    is_deleted boolean not null,
    tenant_id text collate "C" not null,
    owner_id text collate "C" not null,
    visibility text collate "C" not null,
    entity_type text collate "C" not null,
    status text collate "C",
    trace_id text collate "C" not null,
    published_by text collate "C" not null,
    idempotency_key text collate "C",
    content_hash bytea not null,
    prev_hash bytea not null,
    curr_hash bytea not null,
    signature bytea,
    public_key bytea,
    who text not null,
    did text,
    this text not null,
    name text,
    description text,
    language text,
    runtime text,
    related_to uuid[],
    code text,
    input json,
    output json,
    error json,
    content json,
    metadata json,
    primary key (tenant_id, id, seq),
    constraint span_position unique (tenant_id, position),
    -- A value too long for an index page would abort its whole batch.
    constraint span_bounds check (
        octet_length(tenant_id) <= 64 and octet_length(owner_id) <= 256 and octet_length(entity_type) <= 64
        and octet_length(status) <= 64 and octet_length(trace_id) = 32 and octet_length(idempotency_key) <= 1024
    )
);

create unique index span_key on ledger.span (tenant_id, owner_id, idempotency_key) where idempotency_key is not null;

-- Related ids: array operators are not leakproof and so cannot use an index under row-level security.
create table ledger.edge (
    target uuid not null,
    position bigint not null,
    tenant_id text collate "C" not null,
    primary key (target, tenant_id, position)
);

-- Which message of the bus became what. A number alone does not name a message (LED-17), the digest with it does.
create table ledger.intake (
    ingest_seq bigint not null,
    committed_at timestamptz not null default transaction_timestamp(),
    position bigint,
    timeline_seq bigint,
    depth integer,
    digest bytea not null,
    tenant_id text collate "C",
    -- The principal of the address; where a span was sealed, its published_by says it.
    owner_id text collate "C",
    refusal_code text,
    refusal_pointer text,
    refusal_detail text
);
create index intake_ingest on ledger.intake (ingest_seq);
create unique index intake_timeline on ledger.intake (timeline_seq) where timeline_seq is not null;

-- How far each shard is, and whose it is (LED-13).
create table ledger.shard (
    shard integer primary key,
    epoch bigint not null,
    ingest_seq bigint not null default 0,
    timeline_seq bigint not null default 0,
    ingest_digest bytea,
    -- The bus's time of the last message handled, less a microsecond: what comes later is later than this.
    sealed_through timestamptz,
    holder_pid integer,
    holder_since timestamptz
);

-- LED-1
create function ledger.refuse_change() returns trigger language plpgsql set search_path = pg_catalog as $$
begin
    raise exception 'the ledger is append-only: % is refused', tg_op
        using errcode = 'restrict_violation', hint = 'Publish a newer version of the span instead.';
end
$$;
create trigger ur_no_update before update or delete or truncate on ledger.span
    for each statement execute function ledger.refuse_change();
alter table ledger.span enable always trigger ur_no_update;

-- LED-2. Whoever reads for someone reads as logline_views.
alter table ledger.span enable row level security;
alter table ledger.span force row level security;
create policy read_rule on ledger.span for select to logline_views using (
    (tenant_id = (select app.current_tenant_id())
        and (owner_id = (select app.current_user_id()) or visibility in ('tenant', 'public')))
    or visibility = 'public'
    or tenant_id >= (select app.readable_from())
);
create policy every_row on ledger.span for select to logline_owner, logline_actor, logline_verifier using (true);

grant select, insert on ledger.span, ledger.edge, ledger.intake to logline_projector;
grant select, insert, update on ledger.shard to logline_projector;
grant select on ledger.log to logline_projector, logline_verifier;
grant select on ledger.span to logline_actor, logline_verifier, logline_views;
grant select on ledger.edge, ledger.intake to logline_views;

-- When each version was replaced does not depend on who asks: a version that one may read is not the latest even where the later one is hidden.
create view ledger.version as
select tenant_id, id, seq, received_at from ledger.span;
grant select on ledger.version to logline_views;

-- The rows in the form that they were sealed in, for the API.
create view ledger.readable as
select s.*,
    (select v.received_at from ledger.version v
        where v.tenant_id = s.tenant_id and v.id = s.id and v.seq > s.seq
        order by v.seq limit 1) as superseded_at
from ledger.span s;

-- What clients know as the registry.
create view ledger.universal_registry as
select id, seq, entity_type, who, did, this, at, parent_id, related_to, owner_id, tenant_id, visibility, status,
    is_deleted, name, description, code, language, runtime, input::jsonb as input, output::jsonb as output,
    error::jsonb as error, content::jsonb as content, duration_ms, trace_id,
    'blake3:' || encode(prev_hash, 'hex') as prev_hash, 'blake3:' || encode(curr_hash, 'hex') as curr_hash,
    'ed25519:' || encode(signature, 'hex') as signature, encode(public_key, 'hex') as public_key,
    metadata::jsonb as metadata, idempotency_key, caused_by, position, received_at, published_by
from ledger.span;
create trigger ur_no_update instead of update or delete on ledger.universal_registry
    for each row execute function ledger.refuse_change();

-- LED-3
create view ledger.visible_timeline as
select r.*, r.at as "when"
from ledger.universal_registry r
where not r.is_deleted
    and not exists (
        select from ledger.version v where v.tenant_id = r.tenant_id and v.id = r.id and v.seq > r.seq);

-- Who refers to a span. A barrier: conditions of the asker's see only edges of rows that the asker may read.
create view ledger.related with (security_barrier) as
select e.target, s.tenant_id, s.position, s.id, s.seq
from ledger.edge e join ledger.span s on s.tenant_id = e.tenant_id and s.position = e.position;

-- What became of one's own messages.
create view ledger.receipt with (security_barrier) as
select i.ingest_seq, i.digest, s.id, s.seq, s.at, s.position, s.curr_hash, i.timeline_seq is null as duplicate,
    i.refusal_code, i.refusal_pointer, i.refusal_detail
from ledger.intake i left join ledger.span s on s.tenant_id = i.tenant_id and s.position = i.position
where i.tenant_id = (select app.current_tenant_id())
    and coalesce(i.owner_id, s.published_by) = (select app.current_user_id());

grant create on schema ledger to logline_views;
alter view ledger.readable owner to logline_views;
alter view ledger.universal_registry owner to logline_views;
alter view ledger.visible_timeline owner to logline_views;
alter view ledger.related owner to logline_views;
alter view ledger.receipt owner to logline_views;
revoke create on schema ledger from logline_views;
