-- The look-ups of readers under row-level security, and the index that each one uses.

-- One tenant's timeline comes from the unique (tenant_id, position); these narrow it, in the same order.
create index span_type on ledger.span (entity_type, tenant_id, position);
create index span_owner on ledger.span (owner_id, tenant_id, position);
create index span_status on ledger.span (status, tenant_id, position) where not is_deleted and status is not null;
-- What the author said about when.
create index span_at on ledger.span (at);
create index span_trace on ledger.span (trace_id);
create index span_parent on ledger.span (parent_id) where parent_id is not null;
-- What everyone may read, across tenants.
create index span_public on ledger.span (received_at, tenant_id, position) where visibility = 'public';
create index span_public_id on ledger.span (id) where visibility = 'public';
create index span_metadata on ledger.span using gin ((metadata::jsonb) jsonb_path_ops) where metadata is not null;

-- Rows whose metadata contains `wanted` and that the caller may read, newest sealed first. Containment is not leakproof and could not use its index under
-- row-level security, so this runs as the owner and applies the read rule itself.
create function ledger.metadata_contains(wanted jsonb, row_limit integer default 1000)
    returns table (tenant_id text, id uuid, seq integer)
    language sql stable security definer set search_path = pg_catalog
    -- The one index that can be read in no other way.
    set enable_bitmapscan = on
as $$
    select s.tenant_id, s.id, s.seq
    from ledger.span s
    where s.metadata is not null and s.metadata::jsonb @> wanted
        and ((s.tenant_id = (select app.current_tenant_id())
                and (s.owner_id = (select app.current_user_id()) or s.visibility in ('tenant', 'public')))
            or s.visibility = 'public')
    order by s.received_at desc, s.tenant_id desc, s.position desc
    limit row_limit
$$;

-- The last position of the caller's tenant that was sealed at an instant; 0 before the first. received_at rises with the position, so
-- a search by halves needs no index of its own.
create function ledger.position_at(as_of timestamptz) returns bigint
    language plpgsql stable security definer set search_path = pg_catalog
as $$
declare
    tenant constant text := app.current_tenant_id();
    low bigint := 0;
    high bigint := coalesce((select max(position) from ledger.span where tenant_id = tenant), 0);
    middle bigint;
begin
    while low < high loop
        middle := (low + high + 1) / 2;
        if (select received_at <= as_of from ledger.span where tenant_id = tenant and position = middle) then
            low := middle;
        else
            high := middle - 1;
        end if;
    end loop;
    return low;
end
$$;

-- Up to when the caller's answers are final (LED-4): the end of the own tenant's chain, or what the shard has handled where that is later.
create function ledger.sealed_through() returns timestamptz
    language sql stable security definer set search_path = pg_catalog
as $$
    select greatest(
        (select received_at from ledger.span where tenant_id = (select app.current_tenant_id()) order by position desc limit 1),
        (select min(sealed_through) from ledger.shard))
$$;

grant execute on function ledger.metadata_contains(jsonb, integer), ledger.sealed_through()
    to logline_client, logline_reader;
grant execute on function ledger.position_at(timestamptz) to logline_reader;
grant select on ledger.readable, ledger.receipt to logline_reader;
grant select on ledger.universal_registry, ledger.visible_timeline, ledger.related to logline_client, logline_reader;
