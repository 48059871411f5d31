-- What the signer signs (LED-8): the heads of the tree over each chain, the keys that verify them, and the tree itself as far as proofs need it.

grant usage on schema ledger to logline_signer;
grant select (tenant_id, position, curr_hash) on ledger.span to logline_signer;
grant select on ledger.log to logline_signer;
create policy chain on ledger.span for select to logline_signer using (true);

-- Complete subtrees of 256^level leaves, level 1 and above: the leaves are the rows' own hashes.
create table ledger.node (
    index bigint not null check (index >= 0),
    level smallint not null check (level between 1 and 7),
    tenant_id text collate "C" not null check (octet_length(tenant_id) <= 64),
    hash bytea not null check (octet_length(hash) = 32),
    primary key (tenant_id, level, index)
);

create table ledger.checkpoint (
    size bigint not null check (size > 0),
    made_at timestamptz not null default transaction_timestamp(),
    tenant_id text collate "C" not null check (octet_length(tenant_id) <= 64),
    root bytea not null check (octet_length(root) = 32),
    note text not null,
    primary key (tenant_id, size)
);

-- Keys in the form of signed notes; none is ever taken back, since what it signed stays signed.
create table ledger.log_key (
    since timestamptz not null default transaction_timestamp(),
    tenant_id text collate "C" not null check (octet_length(tenant_id) <= 64),
    key text not null,
    primary key (tenant_id, key)
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

alter table ledger.node enable row level security;
alter table ledger.node force row level security;
alter table ledger.checkpoint enable row level security;
alter table ledger.checkpoint force row level security;
alter table ledger.log_key enable row level security;
alter table ledger.log_key force row level security;
create policy every_row on ledger.node for select to logline_owner, logline_signer, logline_verifier using (true);
create policy every_row on ledger.checkpoint for select to logline_owner, logline_signer, logline_verifier using (true);
create policy every_row on ledger.log_key for select to logline_owner, logline_signer, logline_verifier using (true);
create policy append on ledger.node for insert to logline_signer with check (true);
create policy append on ledger.checkpoint for insert to logline_signer with check (true);
create policy append on ledger.log_key for insert to logline_signer with check (true);
-- Heads and keys are for those who belong to the tenant; those of `system` for everyone.
create policy read_rule on ledger.checkpoint for select to logline_views using (
    tenant_id in ((select app.current_tenant_id()), 'system') or tenant_id >= (select app.readable_from()));
create policy read_rule on ledger.log_key for select to logline_views using (
    tenant_id in ((select app.current_tenant_id()), 'system') or tenant_id >= (select app.readable_from()));
grant select, insert on ledger.node, ledger.checkpoint, ledger.log_key to logline_signer;
grant select on ledger.node, ledger.checkpoint, ledger.log_key to logline_verifier;
grant select on ledger.checkpoint, ledger.log_key to logline_views;

create view ledger.signed_head as select tenant_id, size, root, note, made_at from ledger.checkpoint;
create view ledger.verifier_key as select tenant_id, key, since from ledger.log_key;

-- Who may read a span may prove it, whosever it is: what a proof tells of other rows is their hashes.
create function ledger.may_prove(of_tenant text, of_position bigint) returns boolean
    language sql stable security definer set search_path = pg_catalog
as $$
    select exists (
        select from ledger.span s
        where s.tenant_id = of_tenant and s.position = of_position
            and ((s.tenant_id = (select app.current_tenant_id())
                    and (s.owner_id = (select app.current_user_id()) or s.visibility in ('tenant', 'public')))
                or s.visibility = 'public'))
$$;

-- The newest signed head that covers a row.
create function ledger.proof_head(of_tenant text, of_position bigint) returns table (size bigint, note text)
    language sql stable security definer set search_path = pg_catalog
as $$
    select c.size, c.note
    from ledger.checkpoint c
    where c.tenant_id = of_tenant and c.size >= of_position and ledger.may_prove(of_tenant, of_position)
    order by c.size desc limit 1
$$;

-- The hashes of tiles of the tree, each `widths` hashes from `firsts` on; at level 0 the rows' own, from which the leaves are made.
create function ledger.proof_tiles(of_tenant text, of_position bigint, levels integer[], firsts bigint[], widths integer[])
    returns table (tile integer, hash bytea)
    language plpgsql stable security definer set search_path = pg_catalog
as $$
begin
    -- A tree of 2^63 leaves has eight levels of tiles, of which a proof needs at most two each.
    if cardinality(levels) > 16 or exists (select from unnest(widths) w where w > 256)
        or not ledger.may_prove(of_tenant, of_position)
    then
        return;
    end if;
    for number in 1..cardinality(levels) loop
        if levels[number] = 0 then
            return query
                select number, s.curr_hash from ledger.span s
                where s.tenant_id = of_tenant and s.position > firsts[number] and s.position <= firsts[number] + widths[number]
                order by s.position;
        else
            return query
                select number, n.hash from ledger.node n
                where n.tenant_id = of_tenant and n.level = levels[number]
                    and n.index >= firsts[number] and n.index < firsts[number] + widths[number]
                order by n.index;
        end if;
    end loop;
end
$$;

grant execute on function ledger.proof_head(text, bigint), ledger.proof_tiles(text, bigint, integer[], bigint[], integer[])
    to logline_reader;
grant select on ledger.signed_head, ledger.verifier_key to logline_client, logline_reader;
grant create on schema ledger to logline_views;
alter view ledger.signed_head owner to logline_views;
alter view ledger.verifier_key owner to logline_views;
revoke create on schema ledger from logline_views;
