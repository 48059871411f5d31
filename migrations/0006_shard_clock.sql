-- Up to when a reader's answers are final (LED-4): nothing is received at or before a shard's clock any more, and no tenant's chain is ahead of it.
create or replace function ledger.sealed_through() returns timestamptz
    language sql stable security definer set search_path = pg_catalog
as $$ select min(sealed_through) from ledger.shard $$;
