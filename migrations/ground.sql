-- What must stand before the first numbered migration: the roles of the cluster, the schemas, the rights on the database itself.
-- Run before every migration; each part does nothing where it is done. Several databases of one cluster may do this at once: a role that
-- another one makes at the same moment is taken as it is.
do $$
declare
    wanted record;
begin
    for wanted in
        select * from (values
            -- Owns every table; nobody logs in as it.
            ('logline_owner', 'nologin'),
            -- Owns the views that readers see, and is itself held to row-level security.
            ('logline_views', 'nologin'),
            -- People's own psql logins are its members.
            ('logline_client', 'nologin'),
            -- COPY refuses a table under row-level security; the one writer may insert for every tenant anyway.
            ('logline_projector', 'login bypassrls'),
            ('logline_reader', 'login'),
            ('logline_signer', 'login'),
            ('logline_outbox', 'login'),
            ('logline_actor', 'login'),
            ('logline_verifier', 'login'),
            ('logline_admin', 'login noinherit')
        ) as roles (name, options)
    loop
        if not exists (select from pg_catalog.pg_roles where rolname = wanted.name) then
            begin
                execute format('create role %I %s', wanted.name, wanted.options);
            exception when duplicate_object or unique_violation then
                null;
            end;
        end if;
    end loop;

    for wanted in
        select * from (values ('logline_views', 'logline_owner'), ('logline_owner', 'logline_admin')) as memberships (name, member)
    loop
        if not exists (
            select from pg_catalog.pg_auth_members m
            where m.roleid = wanted.name::regrole and m.member = wanted.member::regrole
        ) then
            begin
                execute format('grant %I to %I', wanted.name, wanted.member);
            exception when unique_violation then
                null;
            end;
        end if;
    end loop;

    if not exists (select from pg_catalog.pg_namespace where nspname = 'ledger') then
        execute format('revoke all on database %I from public', current_database());
        revoke all on schema public from public;
        -- The schemas are made last: their presence says that all before them is done.
        create schema app authorization logline_owner;
        create schema ledger authorization logline_owner;
    end if;

    for wanted in
        select rolname as name from pg_catalog.pg_roles
        where rolname in ('logline_client', 'logline_projector', 'logline_reader', 'logline_actor', 'logline_verifier', 'logline_signer', 'logline_outbox',
            'logline_admin')
            and not has_database_privilege(oid, current_database(), 'connect')
    loop
        execute format('grant connect on database %I to %I', current_database(), wanted.name);
    end loop;
end $$;

-- Large objects and code of one's own are for no login. Only a superuser may say so; a later run by anyone else finds it said.
do $$
declare
    open record;
begin
    if not (select rolsuper from pg_catalog.pg_roles where rolname = current_user) then
        return;
    end if;
    grant usage on language plpgsql, sql to logline_owner;
    grant usage on language plpgsql to logline_admin;
    for open in
        select p.oid::regprocedure as name
        from pg_catalog.pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
        where p.pronamespace = 'pg_catalog'::regnamespace and p.proname ~ '^(lo_.*|loread|lowrite)$' and a.grantee = 0
    loop
        execute format('revoke execute on function %s from public', open.name);
    end loop;
    for open in
        select l.lanname as name
        from pg_catalog.pg_language l, aclexplode(coalesce(l.lanacl, acldefault('l', l.lanowner))) a
        where l.lanname in ('plpgsql', 'sql') and a.grantee = 0
    loop
        execute format('revoke usage on language %I from public', open.name);
    end loop;
end $$;

-- Migrations of one database wait for each other on this table; an advisory lock could be taken by any login.
do $$
begin
    set local role logline_owner;
    if to_regclass('ledger.migrating') is null then
        create table ledger.migrating ();
    end if;
end $$;
