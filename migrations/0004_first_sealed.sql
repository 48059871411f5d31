-- Ids are a tenant's own. Where several tenants made an id public, it means the one who sealed it first, whatever versions came later.
create or replace view ledger.readable as
select s.*,
    (select v.received_at from ledger.version v
        where v.tenant_id = s.tenant_id and v.id = s.id and v.seq > s.seq
        order by v.seq limit 1) as superseded_at,
    (select v.received_at from ledger.version v
        where v.tenant_id = s.tenant_id and v.id = s.id
        order by v.seq limit 1) as first_received_at
from ledger.span s;
