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

-- What a tenant's spans before a position come to: who has which role, and which public key is whose. Whoever grants must have been
-- admin then; whoever binds a key, admin or the one whose it is, with a key that was bound already. What others write has no effect.
create function app.standing(of_tenant text, before bigint, out kind text, out principal text, out value text, out device text,
        out since timestamptz, out given_by text, out given_at bigint)
    returns setof record
    language plpgsql stable security definer set search_path = pg_catalog
as $$
declare
    act record;
    slot text;
    held jsonb := '{}';
begin
    for act in
        select s.position, s.received_at, s.this, s.published_by, s.metadata ->> 'device' as device,
            case when s.entity_type in ('role_grant', 'role_revoke') then 'role' else 'key' end as kind,
            s.entity_type in ('role_grant', 'key') as gives,
            case when s.entity_type in ('role_grant', 'role_revoke') then s.metadata ->> 'role' else s.metadata ->> 'public_key' end as value,
            encode(s.public_key, 'hex') as signed_with
        from ledger.span s
        where s.tenant_id = of_tenant and s.position < before and not s.is_deleted
            and s.entity_type in ('role_grant', 'role_revoke', 'key', 'key_revoke')
        order by s.position
    loop
        continue when octet_length(act.this) > 256 or act.value is null
            or (act.kind = 'role' and act.value !~ '^[a-z][a-z0-9_-]{0,63}$')
            or (act.kind = 'key' and act.value !~ '^[0-9a-f]{64}$');
        continue when not (
            act.published_by = 'bootstrap:seed'
            or held ? jsonb_build_array('role', act.published_by, 'admin')::text
            or (act.kind = 'key' and act.published_by = act.this and act.signed_with is not null
                and held ? jsonb_build_array('key', act.published_by, act.signed_with)::text));
        slot := jsonb_build_array(act.kind, act.this, act.value)::text;
        if not act.gives then
            held := held - slot;
        elsif not held ? slot then
            held := held || jsonb_build_object(slot, jsonb_build_array(left(act.device, 256), act.received_at, act.published_by, act.position));
        end if;
    end loop;
    return query
        select h.key::jsonb ->> 0, h.key::jsonb ->> 1, h.key::jsonb ->> 2, h.value ->> 0, (h.value ->> 1)::timestamptz, h.value ->> 2,
            (h.value ->> 3)::bigint
        from jsonb_each(held) h;
end
$$;

-- The roles of one person, for who checks a token and who checks an invoker.
create function app.roles_of(of_tenant text, of_principal text) returns setof text
    language sql stable security definer set search_path = pg_catalog
as $$
    select s.value from app.standing(of_tenant, 9223372036854775807) s where s.kind = 'role' and s.principal = of_principal
$$;

-- The same of one's own tenant, for everyone who belongs to it; as of an instant, by when the spans were received.
create function ledger.standing(as_of timestamptz default 'infinity', out kind text, out principal text, out value text, out device text,
        out since timestamptz, out given_by text)
    returns setof record
    language sql stable security definer set search_path = pg_catalog
as $$
    select s.kind, s.principal, s.value, s.device, s.since, s.given_by
    from app.standing(
        (select app.current_tenant_id()),
        coalesce((select min(l.position) from ledger.span l
            where l.tenant_id = (select app.current_tenant_id()) and l.received_at > as_of), 9223372036854775807)) s
$$;

-- Whether the key that signed a row was its owner's when the row was received (SPAN-10): of rows that one may read. Later spans change nothing.
create function ledger.signed_by_bound(of_tenant text, of_position bigint) returns boolean
    language sql stable security definer set search_path = pg_catalog
as $$
    select exists (
        select from ledger.span r
        cross join lateral app.standing(r.tenant_id, r.position) s
        where r.tenant_id = of_tenant and r.position = of_position and r.signature is not null
            and s.kind = 'key' and s.principal = r.owner_id and s.value = encode(r.public_key, 'hex')
            and ledger.may_prove(of_tenant, of_position))
$$;

grant execute on function app.holder_of(bytea) to logline_reader;
grant execute on function app.roles_of(text, text) to logline_reader, logline_actor;
grant execute on function ledger.standing(timestamptz), ledger.signed_by_bound(text, bigint) to logline_client, logline_reader;
