-- Calls partitions (sql/functions/partitions.sql). kept: partitions of days before yesterday that could not be dropped. The catalog is read in the
-- statement's snapshot, in which those that were dropped are still there.
select p.dropped, (
  select array_agg(c.relname::text order by c.relname) from pg_inherits i join pg_class c on c.oid = i.inhrelid
  where i.inhparent = '{schema}.finished_jobs'::regclass and c.relname ~ '^finished_jobs_[0-9]{8}$' and c.relname <> all (p.dropped)
    and to_date(right(c.relname, 8), 'YYYYMMDD') < (now() at time zone 'UTC')::date - 1
) as kept
from (select {schema}.partitions() as dropped offset 0) p
