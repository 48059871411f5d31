-- SQL-1: an INSERT into the registry waits here until the relay has published it and knows what became of it.

grant usage on schema ledger to logline_outbox;

create table ledger.outbox (
    number bigint not null generated always as identity unique,
    inserted_at timestamptz not null default transaction_timestamp(),
    -- The idempotency key of a span that has none and is not signed.
    id uuid primary key,
    tenant_id text collate "C" not null,
    owner_id text collate "C" not null,
    entity_type text collate "C" not null,
    -- The span as a client of the bus would send it.
    body text not null,
    -- What the bus takes.
    constraint outbox_body check (octet_length(body) <= 1048576)
);
create index outbox_owner on ledger.outbox (tenant_id, owner_id);

create table ledger.refusal (
    number bigint not null generated always as identity primary key,
    inserted_at timestamptz not null,
    refused_at timestamptz not null default transaction_timestamp(),
    outbox_id uuid not null,
    id uuid not null,
    seq integer not null,
    tenant_id text collate "C" not null,
    owner_id text collate "C" not null,
    entity_type text collate "C" not null,
    code text not null,
    pointer text not null,
    detail text not null
);
create index refusal_owner on ledger.refusal (tenant_id, owner_id, number);

alter table ledger.outbox enable row level security;
alter table ledger.outbox force row level security;
alter table ledger.refusal enable row level security;
alter table ledger.refusal force row level security;
-- Its own rows alone, and by way of the registry alone, which writes the body.
create policy write_rule on ledger.outbox for insert to logline_client with check (
    tenant_id = (select app.current_tenant_id()) and owner_id = (select app.current_user_id()) and pg_trigger_depth() > 0);
create policy read_rule on ledger.outbox for select to logline_views using (
    (tenant_id = (select app.current_tenant_id()) and owner_id = (select app.current_user_id()))
    or tenant_id >= (select app.readable_from()));
create policy read_rule on ledger.refusal for select to logline_views using (
    (tenant_id = (select app.current_tenant_id()) and owner_id = (select app.current_user_id()))
    or tenant_id >= (select app.readable_from()));
create policy every_row on ledger.outbox for select to logline_owner, logline_outbox using (true);
create policy every_row on ledger.refusal for select to logline_owner using (true);
create policy settle on ledger.outbox for delete to logline_outbox using (true);
create policy append on ledger.refusal for insert to logline_outbox with check (true);
create policy forget on ledger.refusal for delete to logline_owner using (true);
grant insert (id, tenant_id, owner_id, entity_type, body) on ledger.outbox to logline_client;
grant select, delete on ledger.outbox to logline_outbox;
grant insert (inserted_at, outbox_id, id, seq, tenant_id, owner_id, entity_type, code, pointer, detail) on ledger.refusal to logline_outbox;
grant select on ledger.outbox, ledger.refusal to logline_views;

-- What waits, and what was refused after the commit, for whom it belongs to.
create view ledger.my_outbox as
select id as outbox_id, (body::jsonb ->> 'id')::uuid as id, tenant_id, owner_id, entity_type, inserted_at from ledger.outbox;
create view ledger.my_refusals as
select refused_at, id, seq, entity_type, code, pointer, detail, tenant_id, owner_id, outbox_id, inserted_at from ledger.refusal;

-- Bounds what one principal may have waiting, and wakes the relay, once for each transaction.
create function ledger.outbox_filled() returns trigger
    language plpgsql security definer set search_path = pg_catalog
as $$
declare
    rows_max constant integer := 1000;
    bytes_max constant integer := 64 * 1024 * 1024;
    waiting bigint;
    bytes bigint;
begin
    select count(*), sum(w.length) into waiting, bytes
    from (
        select octet_length(o.body) as length from ledger.outbox o
        where o.tenant_id = new.tenant_id and o.owner_id = new.owner_id limit rows_max + 1
    ) w;
    if waiting > rows_max or bytes > bytes_max then
        raise exception 'too much of this principal waits to be sealed: the outbox holds % rows or % bytes', rows_max, bytes_max
            using errcode = 'configuration_limit_exceeded',
                  hint = 'Insert fewer rows in one transaction; ledger.my_outbox shows what waits.';
    end if;
    perform pg_notify('ledger_outbox', '');
    return null;
end
$$;
create trigger outbox_filled after insert on ledger.outbox for each row execute function ledger.outbox_filled();

-- A principal's newest refusals are kept.
create function ledger.forget_refusals() returns trigger
    language plpgsql security definer set search_path = pg_catalog
as $$
declare
    kept constant integer := 1000;
begin
    delete from ledger.refusal r
    where r.tenant_id = new.tenant_id and r.owner_id = new.owner_id
        and r.number <= (
            select o.number from ledger.refusal o
            where o.tenant_id = new.tenant_id and o.owner_id = new.owner_id
            order by o.number desc offset kept limit 1);
    return null;
end
$$;
create trigger forget_refusals after insert on ledger.refusal for each row execute function ledger.forget_refusals();

-- The INSERT itself, as whoever inserts: what is plainly wrong is said here, the rest by what seals. A message names fields and
-- forms, never a value (SPAN-5).
create function ledger.divert_insert() returns trigger
    language plpgsql set search_path = pg_catalog
as $$
declare
    tenant constant text := app.current_tenant_id();
    principal constant text := app.current_user_id();
    outbox_id constant uuid := gen_random_uuid();
    is_signed constant boolean := new.signature is not null;
    chars_max constant integer := 256;
    related_max constant integer := 1000;
    fault record;
    body jsonb;
begin
    if tenant is null then
        raise exception 'this session has no identity to insert as'
            using errcode = 'insufficient_privilege',
                  detail = 'code unauthorized',
                  hint = 'SET app.tenant_id and app.user_id to those of this login, as "logline token psql" bound it.';
    end if;
    select f.code, f.pointer, f.sentence, f.hint into fault
    from (values
        (new.tenant_id <> tenant, 'tenant_mismatch', '/tenant_id', 'tenant_id must be the tenant of this session',
            'Leave tenant_id out, or write what app.tenant_id says.'),
        (new.owner_id <> principal, 'owner_mismatch', '/owner_id', 'owner_id must be the principal of this session',
            'Leave owner_id out, or write what app.user_id says.'),
        (principal ~ '^(edge|bootstrap):', 'reserved_principal', '/owner_id', 'the principals of the system publish to the bus themselves',
            'Insert as a person or device.'),
        (num_nonnulls(new.position, new.received_at, new.published_by, new.prev_hash, new.curr_hash) > 0, 'ledger_field', '',
            'position, received_at, published_by, prev_hash and curr_hash are set by the ledger', 'Leave them out.'),
        (new.entity_type is null, 'missing_field', '/entity_type', 'entity_type is required', 'Say what kind of span it is, such as activity.'),
        (coalesce(new.who, '') = '', 'missing_field', '/who', 'who is required', 'Name who acts.'),
        (coalesce(new.this, '') = '', 'missing_field', '/this', '"this" is required', 'Name the object of the act.'),
        (new.entity_type !~ '^[a-z0-9_.]{1,64}$', 'invalid_value', '/entity_type',
            'entity_type must be lower-case words joined by "_" and grouped by ".", at most 64 characters', 'Write it like activity or law.decision.'),
        (new.visibility not in ('private', 'tenant', 'public'), 'invalid_value', '/visibility',
            'visibility must be private, tenant or public', 'Leave it out for private.'),
        (new.status !~ '^[A-Za-z0-9_-]{1,64}$' or new.status = '_', 'invalid_value', '/status',
            'status must be 1 to 64 letters, digits, "_" or "-"', 'Write it like scheduled or complete.'),
        (new.seq < 0, 'out_of_range', '/seq', 'seq must not be negative', 'Begin with 0; a new version has a higher seq.'),
        (new.duration_ms < 0, 'out_of_range', '/duration_ms', 'duration_ms must not be negative', 'Write milliseconds.'),
        (not isfinite(new.at) or extract(year from new.at at time zone 'UTC') not between 1 and 9999, 'invalid_timestamp', '/at',
            'at must be a time of the years 1 to 9999', 'Leave it out for the time at which the span is received.'),
        (new.at > statement_timestamp() + interval '5 minutes', 'at_in_future', '/at', 'at must not be more than 5 minutes in the future',
            'Check the author''s clock, or leave at out.'),
        (greatest(length(new.who), length(new.did), length(new.name), length(new.language), length(new.runtime),
                length(new.idempotency_key)) > chars_max, 'too_long', '',
            format('who, did, name, language, runtime and idempotency_key take at most %s characters', chars_max),
            'Long content belongs into description, code, input, output, error, content or metadata.'),
        (cardinality(new.related_to) > related_max, 'too_long', '/related_to', format('related_to takes at most %s ids', related_max),
            'Refer to fewer spans.'),
        (array_position(new.related_to, null) is not null, 'wrong_type', '/related_to', 'related_to holds ids alone', 'Leave nulls out.'),
        (new.idempotency_key = '', 'out_of_range', '/idempotency_key', 'idempotency_key must not be empty', 'Leave it out.'),
        (new.idempotency_key ~ '^edge:', 'reserved_key', '/idempotency_key', 'keys beginning with edge: are the system''s', 'Choose another key.'),
        (new.who ~ '^(edge|bootstrap|policy|function):', 'reserved_name', '/who',
            'names beginning with edge:, bootstrap:, policy: and function: are the system''s', 'Choose another name.'),
        (is_signed and new.public_key is null, 'signature_without_key', '/public_key', 'a signature needs the public_key', 'Write both.'),
        (new.public_key is not null and not is_signed, 'key_without_signature', '/signature', 'public_key without a signature', 'Write both, or neither.'),
        (is_signed and num_nulls(new.id, new.at, new.trace_id, new.tenant_id, new.owner_id) > 0, 'signature_incomplete', '',
            'a signed span names id, entity_type, at, trace_id, tenant_id and owner_id itself', '"logline span sign" fills them in.')
    ) as f (is_so, code, pointer, sentence, hint)
    where f.is_so
    limit 1;
    if found then
        raise exception '%', fault.sentence
            using errcode = case when fault.code in ('tenant_mismatch', 'owner_mismatch', 'reserved_principal')
                      then 'insufficient_privilege' else 'check_violation' end,
                  detail = trim(format('code %s %s', fault.code, fault.pointer)),
                  hint = fault.hint;
    end if;

    new.id := coalesce(new.id, outbox_id);
    new.seq := coalesce(new.seq, 0);
    new.visibility := coalesce(new.visibility, 'private');
    new.is_deleted := coalesce(new.is_deleted, false);
    new.tenant_id := tenant;
    new.owner_id := principal;
    if not is_signed then
        new.idempotency_key := coalesce(new.idempotency_key, outbox_id::text);
    end if;
    select jsonb_object_agg(f.key, f.value) into body
    from jsonb_each(to_jsonb(new) - 'at' - 'caused_by') f
    where f.value <> 'null';
    if new.at is not null then
        -- Whatever the session's time zone and style of dates.
        body := body || jsonb_build_object('at', to_char(new.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'));
    end if;
    if new.caused_by is not null then
        body := body || jsonb_build_object('links', jsonb_build_object('caused_by', new.caused_by));
    end if;
    insert into ledger.outbox (id, tenant_id, owner_id, entity_type, body)
    values (outbox_id, tenant, principal, new.entity_type, body::text);
    return new;
end
$$;
create trigger divert_insert instead of insert on ledger.universal_registry
    for each row execute function ledger.divert_insert();

grant insert on ledger.universal_registry to logline_client;
grant select on ledger.my_outbox, ledger.my_refusals to logline_client;
grant create on schema ledger to logline_views;
alter view ledger.my_outbox owner to logline_views;
alter view ledger.my_refusals owner to logline_views;
revoke create on schema ledger from logline_views;
