-- A publisher may say the same thing often: number and digest alone do not tell such messages apart where the bus gave a number twice (LED-17).
alter table ledger.intake add column bus_time_ns bigint;
alter table ledger.shard add column ingest_time_ns bigint;

create or replace view ledger.receipt with (security_barrier) as
select i.ingest_seq, i.digest, s.id, s.seq, s.at, s.position, s.curr_hash, i.timeline_seq is null as duplicate,
    i.refusal_code, i.refusal_pointer, i.refusal_detail, i.bus_time_ns
from ledger.intake i left join ledger.span s on s.tenant_id = i.tenant_id and s.position = i.position
where i.tenant_id = (select app.current_tenant_id())
    and coalesce(i.owner_id, s.published_by) = (select app.current_user_id());
