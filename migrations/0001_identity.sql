-- Who is reading (LED-2). A setting alone is never believed: any SELECT can call set_config.

alter default privileges revoke execute on functions from public;
alter default privileges revoke usage on types from public;

grant usage on schema app to logline_views, logline_client, logline_reader, logline_actor, logline_verifier, logline_projector;

-- People's logins and whom each one is.
create table app.login (
    login name primary key,
    tenant_id text not null check (octet_length(tenant_id) <= 64),
    principal text not null check (octet_length(principal) <= 256)
);

-- The key of the API's proof, padded as HMAC wants it: Postgres has SHA-256 built in, HMAC not. No role may read this
-- but the owner, as whom app.identity runs.
create table app.identity_key (
    only_one boolean primary key default true check (only_one),
    inner_pad bytea not null check (octet_length(inner_pad) = 64),
    outer_pad bytea not null check (octet_length(outer_pad) = 64)
);

create function app.proof(tenant text, principal text) returns bytea
    language sql stable security definer set search_path = pg_catalog
as $$
    select sha256(outer_pad || sha256(inner_pad || convert_to(concat_ws(
        E'\n', pg_backend_pid(), (extract(epoch from transaction_timestamp()) * 1000000)::bigint, tenant, principal), 'UTF8')))
    from app.identity_key
$$;

-- INVARIANT (identity): both null, or an identity that this session has proved; anything else raises.
create function app.identity(out tenant text, out principal text)
    language plpgsql stable security definer set search_path = pg_catalog
as $$
declare
    code text := current_setting('app.identity_proof', true);
begin
    tenant := nullif(current_setting('app.tenant_id', true), '');
    principal := nullif(current_setting('app.user_id', true), '');
    if tenant is null and principal is null then
        return;
    end if;
    if (select rolsuper from pg_roles where rolname = session_user) then
        return;
    end if;
    -- Hashed again before comparing, so that the time taken says nothing about how much was right.
    if pg_has_role(session_user, 'logline_reader', 'usage')
        and sha256(convert_to(code, 'UTF8')) = sha256(convert_to(encode(app.proof(tenant, principal), 'hex'), 'UTF8'))
    then
        return;
    end if;
    if pg_has_role(session_user, 'logline_client', 'usage')
        and exists (
            select from app.login l
            where l.login = session_user and l.tenant_id = identity.tenant and l.principal = identity.principal
        )
    then
        return;
    end if;
    raise exception 'this session has not proved to be the identity in app.tenant_id and app.user_id'
        using errcode = 'insufficient_privilege',
              hint = 'A login bound by "logline token psql" sets both to its own; unset, it reads what is public.';
end
$$;

create function app.current_tenant_id() returns text
    language sql stable security definer set search_path = pg_catalog
as $$ select tenant from app.identity() $$;

create function app.current_user_id() returns text
    language sql stable security definer set search_path = pg_catalog
as $$ select principal from app.identity() $$;

-- The least tenant from which on every row is readable: all for a superuser without an identity, none (null) for anyone
-- else. A comparison, and not a flag, so that the read rule stays a disjunction of index conditions.
create function app.readable_from() returns text
    language sql stable security invoker set search_path = pg_catalog
as $$
    select '' where current_setting('is_superuser') = 'on'
        and nullif(current_setting('app.tenant_id', true), '') is null
        and nullif(current_setting('app.user_id', true), '') is null
$$;

grant execute on function app.current_tenant_id(), app.current_user_id(), app.readable_from()
    to logline_views, logline_client, logline_reader;
