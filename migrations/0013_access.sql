-- Who may do what: keys of programs, and the roles and public keys that a tenant's own spans give (API-2, GOV-6, GOV-7).

-- API keys by their digests. Nobody reads the table but the owner: the API asks about one digest at a time.
create table app.api_key (
    made_at timestamptz not null default transaction_timestamp(),
    expires_at timestamptz,
    revoked_at timestamptz,
    id text collate "C" primary key check (octet_length(id) <= 64),
    tenant_id text collate "C" not null check (octet_length(tenant_id) <= 64 and tenant_id <> 'system'),
    principal text collate "C" not null check (octet_length(principal) <= 256 and principal !~ '^(edge|bootstrap):'),
    name text not null check (octet_length(name) between 1 and 256),
    roles text[] not null,
    digest bytea not null unique check (octet_length(digest) = 32)
);

create function app.holder_of(wanted bytea, out tenant_id text, out principal text, out roles text[], out expires_at timestamptz)
    returns setof record
    language sql stable security definer set search_path = pg_catalog
as $$
    select k.tenant_id, k.principal, k.roles, k.expires_at
    from app.api_key k
    where k.digest = wanted and k.revoked_at is null and (k.expires_at is null or k.expires_at > statement_timestamp())
$$;

create index span_standing on ledger.span (tenant_id, position)
    where entity_type in ('role_grant', 'role_revoke', 'key', 'key_revoke');

-- Who had which role, and whose each public key was, from one position of a chain to another: what the spans of those types come to, so that
-- a question costs one look-up however many there are. `app.chain_standing` is the definition, and `logline doctor` compares.
create table app.standing (
    since_position bigint not null,
    until_position bigint,
    since timestamptz not null,
    until timestamptz,
    tenant_id text collate "C" not null,
    kind text collate "C" not null check (kind in ('role', 'key')),
    principal text collate "C" not null,
    value text collate "C" not null,
    given_by text collate "C" not null,
    device text,
    primary key (tenant_id, kind, principal, value, since_position)
);

-- What a span of those types says; null where it says nothing that can be given.
create function app.act_of(entity_type text, this text, metadata json, out kind text, out gives boolean, out value text)
    language sql immutable set search_path = pg_catalog
as $$
    select a.kind, a.gives, a.value
    from (select case when entity_type in ('role_grant', 'role_revoke') then 'role' else 'key' end as kind,
            entity_type in ('role_grant', 'key') as gives,
            metadata ->> case when entity_type in ('role_grant', 'role_revoke') then 'role' else 'public_key' end as value) a
    where octet_length(this) <= 256
        and a.value ~ case when a.kind = 'role' then '^[a-z][a-z0-9_-]{0,63}$' else '^[0-9a-f]{64}$' end
$$;

-- Takes in one such span, in the order of its chain. Whoever grants must be admin at that point; whoever binds a key, admin or the one whose
-- it is, with a key that is bound already. What others write has no effect.
create function app.take_in(act ledger.span) returns void
    language plpgsql set search_path = pg_catalog
as $$
declare
    said_kind text;
    said_gives boolean;
    said_value text;
begin
    select a.kind, a.gives, a.value into said_kind, said_gives, said_value from app.act_of(act.entity_type, act.this, act.metadata) a;
    if said_value is null or act.is_deleted or not (
        act.published_by = 'bootstrap:seed'
        or exists (select from app.standing s
            where s.tenant_id = act.tenant_id and s.kind = 'role' and s.principal = act.published_by and s.value = 'admin'
                and s.until_position is null)
        or (said_kind = 'key' and act.published_by = act.this and act.signature is not null
            and exists (select from app.standing s
                where s.tenant_id = act.tenant_id and s.kind = 'key' and s.principal = act.published_by
                    and s.value = encode(act.public_key, 'hex') and s.until_position is null)))
    then
        return;
    end if;
    if not said_gives then
        update app.standing s set until_position = act.position, until = act.received_at
        where s.tenant_id = act.tenant_id and s.kind = said_kind and s.principal = act.this and s.value = said_value
            and s.until_position is null;
    elsif not exists (select from app.standing s
        where s.tenant_id = act.tenant_id and s.kind = said_kind and s.principal = act.this and s.value = said_value
            and s.until_position is null)
    then
        insert into app.standing (since_position, since, tenant_id, kind, principal, value, given_by, device)
        values (act.position, act.received_at, act.tenant_id, said_kind, act.this, said_value, act.published_by,
            left(act.metadata ->> 'device', 256));
    end if;
end
$$;

create function app.take_in_sealed() returns trigger
    language plpgsql security definer set search_path = pg_catalog
as $$
begin
    perform app.take_in(new);
    return null;
end
$$;
create trigger ur_standing after insert on ledger.span for each row
    when (new.entity_type in ('role_grant', 'role_revoke', 'key', 'key_revoke'))
    execute function app.take_in_sealed();
alter table ledger.span enable always trigger ur_standing;

do $$
declare
    act ledger.span;
begin
    for act in
        select * from ledger.span s
        where s.entity_type in ('role_grant', 'role_revoke', 'key', 'key_revoke') order by s.tenant_id, s.position
    loop
        perform app.take_in(act);
    end loop;
end
$$;

-- The definition: what a whole chain comes to, by its spans alone.
create function app.chain_standing(of_tenant text, out kind text, out principal text, out value text, out since_position bigint)
    returns setof record
    language plpgsql stable security definer set search_path = pg_catalog
as $$
declare
    act record;
    slot text;
    held jsonb := '{}';
begin
    for act in
        select s.position, s.this, s.published_by, a.kind, a.gives, a.value,
            case when s.signature is not null then encode(s.public_key, 'hex') end as signed_with
        from ledger.span s
        cross join lateral app.act_of(s.entity_type, s.this, s.metadata) a
        where s.tenant_id = of_tenant and not s.is_deleted and a.value is not null
            and s.entity_type in ('role_grant', 'role_revoke', 'key', 'key_revoke')
        order by s.position
    loop
        continue when not (
            act.published_by = 'bootstrap:seed'
            or held ? jsonb_build_array('role', act.published_by, 'admin')::text
            or (act.kind = 'key' and act.published_by = act.this and act.signed_with is not null
                and held ? jsonb_build_array('key', act.published_by, act.signed_with)::text));
        slot := jsonb_build_array(act.kind, act.this, act.value)::text;
        if not act.gives then
            held := held - slot;
        elsif not held ? slot then
            held := held || jsonb_build_object(slot, act.position);
        end if;
    end loop;
    return query
        select h.key::jsonb ->> 0, h.key::jsonb ->> 1, h.key::jsonb ->> 2, h.value::bigint from jsonb_each(held) h;
end
$$;

-- Whether the table says of every tenant what its chain says.
create function app.standing_holds() returns boolean
    language sql stable security definer set search_path = pg_catalog
as $$
    with tenant as (
        select distinct s.tenant_id as id from ledger.span s where s.entity_type in ('role_grant', 'role_revoke', 'key', 'key_revoke')
        union select s.tenant_id from app.standing s),
    chain as (
        select t.id, c.kind, c.principal, c.value, c.since_position from tenant t cross join lateral app.chain_standing(t.id) c),
    kept as (
        select s.tenant_id, s.kind, s.principal, s.value, s.since_position from app.standing s where s.until_position is null)
    select not exists (table chain except table kept) and not exists (table kept except table chain)
$$;

-- The roles of one person before a position of the chain: for who checks a token now, and for who checks the one that made a request.
create function app.roles_of(of_tenant text, of_principal text, before bigint default 9223372036854775807) returns setof text
    language sql stable security definer set search_path = pg_catalog
as $$
    select s.value from app.standing s
    where s.tenant_id = of_tenant and s.kind = 'role' and s.principal = of_principal
        and s.since_position < before and (s.until_position is null or s.until_position >= before)
$$;

-- All of one's own tenant, for everyone who belongs to it; as of an instant, by when the spans were received.
create function ledger.standing(as_of timestamptz default 'infinity', out kind text, out principal text, out value text, out device text,
        out since timestamptz, out given_by text)
    returns setof record
    language sql stable security definer set search_path = pg_catalog
as $$
    select s.kind, s.principal, s.value, s.device, s.since, s.given_by
    from app.standing s
    where s.tenant_id = (select app.current_tenant_id()) and s.since <= as_of and (s.until is null or s.until > as_of)
$$;

-- Whether the key that signed a row was its owner's when the row was received (SPAN-10): of rows that one may read. Later spans change nothing.
-- What the system publishes for somebody it signs itself, and no binding of its key makes that the owner's word.
create function ledger.signed_by_bound(of_tenant text, of_position bigint) returns boolean
    language sql stable security definer set search_path = pg_catalog
as $$
    select exists (
        select from ledger.span r
        join app.standing s on s.tenant_id = r.tenant_id and s.kind = 'key' and s.principal = r.owner_id
            and s.value = encode(r.public_key, 'hex')
        where r.tenant_id = of_tenant and r.position = of_position and r.signature is not null and r.published_by = r.owner_id
            and s.since_position < r.position and (s.until_position is null or s.until_position > r.position)
            and ledger.may_prove(of_tenant, of_position))
$$;

grant execute on function app.standing_holds() to logline_verifier;
grant execute on function app.holder_of(bytea) to logline_reader;
grant execute on function app.roles_of(text, text, bigint) to logline_reader, logline_actor;
grant execute on function ledger.standing(timestamptz), ledger.signed_by_bound(text, bigint) to logline_client, logline_reader;
