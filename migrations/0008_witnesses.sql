-- The log as others read it whole, follow it and vouch for it (LED-8), and what verifications of it found (LED-9).

-- What witnesses have signed over a head. `witness` is their key in the form of signed notes, `line` the signature that goes under the note.
create table ledger.cosignature (
    size bigint not null check (size > 0),
    cosigned_at timestamptz not null,
    tenant_id text collate "C" not null check (octet_length(tenant_id) <= 64),
    witness text collate "C" not null check (octet_length(witness) <= 1024),
    line text not null check (octet_length(line) <= 2048),
    primary key (tenant_id, size, witness)
);

-- One row for each chain that a verification went through: the positions that it covered, and how many failures it named.
create table ledger.verification (
    id bigint generated always as identity primary key,
    verified_at timestamptz not null default transaction_timestamp(),
    first_position bigint not null check (first_position > 0),
    last_position bigint not null check (last_position >= 0),
    failures integer not null check (failures >= 0),
    anchored boolean not null,
    tenant_id text collate "C" not null check (octet_length(tenant_id) <= 64)
);
create index verification_newest on ledger.verification (tenant_id, id);

create trigger cosignature_no_update before update or delete or truncate on ledger.cosignature
    for each statement execute function ledger.refuse_change();
create trigger verification_no_update before update or delete or truncate on ledger.verification
    for each statement execute function ledger.refuse_change();
alter table ledger.cosignature enable always trigger cosignature_no_update;
alter table ledger.verification enable always trigger verification_no_update;

alter table ledger.cosignature enable row level security;
alter table ledger.cosignature force row level security;
alter table ledger.verification enable row level security;
alter table ledger.verification force row level security;
create policy every_row on ledger.cosignature for select to logline_owner, logline_signer, logline_verifier using (true);
create policy every_row on ledger.verification for select to logline_owner using (true);
create policy append on ledger.cosignature for insert to logline_signer with check (true);
create policy append on ledger.verification for insert to logline_verifier with check (true);
create policy read_rule on ledger.cosignature for select to logline_views using (
    tenant_id in ((select app.current_tenant_id()), 'system') or tenant_id >= (select app.readable_from()));
create policy read_rule on ledger.verification for select to logline_views using (
    tenant_id in ((select app.current_tenant_id()), 'system') or tenant_id >= (select app.readable_from()));
grant select, insert on ledger.cosignature to logline_signer;
grant select on ledger.cosignature to logline_verifier, logline_views;
grant insert on ledger.verification to logline_verifier;
grant select on ledger.verification to logline_views;

-- Every signed head with the cosignatures under its note, for the parts that read all of them.
create view ledger.head with (security_invoker = true) as
select c.tenant_id, c.size, c.root, c.made_at, w.lines is not null as is_cosigned, c.note || coalesce(w.lines, '') as note
from ledger.checkpoint c
left join lateral (
    select string_agg(w.line || E'\n', '' order by w.witness) as lines from ledger.cosignature w
    where w.tenant_id = c.tenant_id and w.size = c.size) w on true;
grant select on ledger.head to logline_signer, logline_verifier;

-- The same for readers.
create or replace view ledger.signed_head as
select c.tenant_id, c.size, c.root, c.note || coalesce(w.lines, '') as note, c.made_at, w.lines is not null as is_cosigned
from ledger.checkpoint c
left join lateral (
    select string_agg(w.line || E'\n', '' order by w.witness) as lines from ledger.cosignature w
    where w.tenant_id = c.tenant_id and w.size = c.size) w on true;

create view ledger.witnessed as
select tenant_id, size, cosigned_at, witness, line from ledger.cosignature;

create view ledger.verified as
select tenant_id, id, verified_at, first_position, last_position, failures, anchored from ledger.verification;

-- The newest head that covers a row and that witnesses have cosigned, or else the newest that covers it.
create or replace function ledger.proof_head(of_tenant text, of_position bigint) returns table (size bigint, note text)
    language sql stable security definer set search_path = pg_catalog
as $$
    select h.size, h.note
    from ledger.head h
    where h.tenant_id = of_tenant and ledger.may_prove(of_tenant, of_position)
        and h.size = coalesce(
            (select w.size from ledger.cosignature w
                where w.tenant_id = of_tenant and w.size >= of_position order by w.size desc limit 1),
            (select c.size from ledger.checkpoint c
                where c.tenant_id = of_tenant and c.size >= of_position order by c.size desc limit 1))
$$;

-- Whether the caller belongs to a tenant; to `system` everyone does.
create function ledger.belongs_to(of_tenant text) returns boolean
    language sql stable security definer set search_path = pg_catalog
as $$ select coalesce(of_tenant in ((select app.current_tenant_id()), 'system'), false) $$;

-- The hashes of tiles of a tenant's tree, each `widths` hashes from `firsts` on, for those who belong to it. At level 0 these are the leaves, from
-- which nobody learns a row's own hash.
create function ledger.log_tiles(of_tenant text, levels integer[], firsts bigint[], widths integer[])
    returns table (tile integer, hash bytea)
    language plpgsql stable security definer set search_path = pg_catalog
as $$
begin
    -- A tree of 2^63 leaves has eight levels of tiles, of which a proof needs at most two each.
    if cardinality(levels) > 16 or exists (select from unnest(widths) w where w > 256) or not ledger.belongs_to(of_tenant) then
        return;
    end if;
    for number in 1..cardinality(levels) loop
        if levels[number] = 0 then
            return query
                select number, sha256('\x00'::bytea || s.curr_hash) from ledger.span s
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

-- What the leaves from a position on are the hashes of: the rows' own, of the caller's tenant alone.
create function ledger.log_entries(after_position bigint, width integer) returns table (hash bytea)
    language sql stable security definer set search_path = pg_catalog
as $$
    select s.curr_hash from ledger.span s
    where s.tenant_id = (select app.current_tenant_id())
        and s.position > after_position and s.position <= after_position + least(width, 256)
    order by s.position
$$;

-- The last row of a chain, for those who belong to its tenant: what a signed head says of it, before it is signed.
create function ledger.chain_end(of_tenant text) returns table ("position" bigint, received_at timestamptz, curr_hash bytea)
    language sql stable security definer set search_path = pg_catalog
as $$
    select s.position, s.received_at, s.curr_hash from ledger.span s
    where s.tenant_id = of_tenant and ledger.belongs_to(of_tenant)
    order by s.position desc limit 1
$$;

grant execute on function ledger.log_tiles(text, integer[], bigint[], integer[]), ledger.log_entries(bigint, integer),
    ledger.chain_end(text) to logline_reader;
grant select on ledger.witnessed, ledger.verified to logline_reader;
grant create on schema ledger to logline_views;
alter view ledger.witnessed owner to logline_views;
alter view ledger.verified owner to logline_views;
revoke create on schema ledger from logline_views;
