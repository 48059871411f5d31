-- The log that others verify (LED-8): what the signer knows of each tenant's tree. It alone writes here, and reads of the registry no more than hashes.

grant usage on schema ledger to logline_signer;

-- Complete subtrees of 256^level leaves. Those of level 0 are the leaves: SHA-256 of a zero byte and curr_hash.
create table ledger.node (
    index bigint not null check (index >= 0),
    level smallint not null check (level between 1 and 7),
    tenant_id text collate "C" not null,
    hash bytea not null check (octet_length(hash) = 32),
    primary key (tenant_id, level, index)
);

-- Every head that was signed, as a signed note.
create table ledger.checkpoint (
    size bigint not null check (size > 0),
    signed_at timestamptz not null default transaction_timestamp(),
    tenant_id text collate "C" not null,
    note text not null,
    primary key (tenant_id, size)
);

-- Every key that the log has ever signed with: an old checkpoint stays verifiable.
create table ledger.log_key (
    public_key bytea primary key check (octet_length(public_key) = 32),
    since timestamptz not null default transaction_timestamp()
);

create trigger node_no_update before update or delete or truncate on ledger.node
    for each statement execute function ledger.refuse_change();
create trigger checkpoint_no_update before update or delete or truncate on ledger.checkpoint
    for each statement execute function ledger.refuse_change();
create trigger log_key_no_update before update or delete or truncate on ledger.log_key
    for each statement execute function ledger.refuse_change();
alter table ledger.node enable always trigger node_no_update;
alter table ledger.checkpoint enable always trigger checkpoint_no_update;
alter table ledger.log_key enable always trigger log_key_no_update;

grant select, insert on ledger.node, ledger.checkpoint, ledger.log_key to logline_signer;
grant select on ledger.log to logline_signer;
grant select (tenant_id, position, curr_hash) on ledger.span to logline_signer;
create policy every_hash on ledger.span for select to logline_signer using (true);
grant select on ledger.node, ledger.checkpoint, ledger.log_key to logline_verifier;

-- Hashes of the tree side by side, from `first` on. They say nothing of a span but to who holds it already, so that the API may prove a span to
-- its reader with hashes of others'.
create function ledger.tile(tenant text, level integer, first bigint, width integer) returns bytea[]
    language sql stable security definer set search_path = pg_catalog
as $$
    select case when $2 = 0 then
        (select array_agg(sha256('\x00'::bytea || s.curr_hash) order by s.position) from ledger.span s
            where s.tenant_id = $1 and s.position > $3 and s.position <= $3 + $4)
    else
        (select array_agg(n.hash order by n.index) from ledger.node n
            where n.tenant_id = $1 and n.level = $2 and n.index >= $3 and n.index < $3 + $4)
    end
$$;
grant execute on function ledger.tile(text, integer, bigint, integer) to logline_reader, logline_signer;

-- The newest head of a tenant's tree.
create function ledger.newest_checkpoint(tenant text) returns text
    language sql stable security definer set search_path = pg_catalog
as $$ select note from ledger.checkpoint where tenant_id = $1 order by size desc limit 1 $$;
grant execute on function ledger.newest_checkpoint(text) to logline_reader;

create function ledger.log_keys() returns setof bytea
    language sql stable security definer set search_path = pg_catalog
as $$ select public_key from ledger.log_key order by since desc $$;
create function ledger.log_name() returns text
    language sql stable security definer set search_path = pg_catalog
as $$ select name from ledger.log $$;
grant execute on function ledger.log_keys(), ledger.log_name() to logline_reader;
