-- The worker lives and runs `n` jobs. No row: it was taken for dead. Of its runs `ids` with `leases`: the jobs of those that have been cancelled,
-- and the places in the list, from 1, of those that are no longer its own (a job may be there twice, a run of which the worker had given up beside its
-- next one; and a lease, which all jobs of a claim share). By primary key, run by run (hence the
-- offsets: see settle): an index on the worker would have to walk the entries of all the jobs that it ever ran. versions: a migration may have closed the
-- schema to this version of the package since it looked (so any later schema keeps this function, the table workers, and these columns of jobs and meta).
-- listens: it may be woken by notifications on its own channel.
-- fleet: its place among the live workers (0: the first; those that listen stand first, then by id), how many other live workers there are, and the milliseconds
-- until the next of the others is to be taken for dead unless it beats again (0 or less: it is late; null: there is no other). Reads all rows of workers.
-- A function for the sake of its settings: prepared while the tables were empty, it read all of jobs for each run (measured: 4 million rows for 100 runs of 20,000 jobs).
-- Twice: a later beat. Connection dies: it has beaten, or not; the worker sends it again.
create or replace function {schema}.heartbeat(worker uuid, n integer, ids uuid[], leases bigint[], listening boolean)
returns table (cancelled uuid[], lost integer[], versions integer[], fleet double precision[])
language plpgsql volatile
set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
begin
  return query
  update {schema}.workers w set heartbeat_at = now(), running = heartbeat.n, listens = heartbeat.listening where w.id = heartbeat.worker
  returning
    (select array_agg(j.id) from unnest(heartbeat.ids, heartbeat.leases) r (id, lease)
     cross join lateral (select * from {schema}.jobs x where x.id = r.id and x.lease = r.lease and x.cancel_requested offset 0) j),
    (select array_agg(r.place::integer) from unnest(heartbeat.ids, heartbeat.leases) with ordinality r (id, lease, place)
     where not exists (select from {schema}.jobs j where j.id = r.id and j.lease = r.lease and j.worker_id = heartbeat.worker offset 0)),
    (select array[m.version, m.min_version] from {schema}.meta m),
    (select array[count(*) filter (where o.live and (o.listens is not true, o.id) < (not heartbeat.listening, heartbeat.worker)), count(*) filter (where o.live),
       extract(epoch from min(o.heartbeat_at + o.lease) - now()) * 1000]::double precision[]
     from (select v.id, v.listens, v.heartbeat_at, v.lease, v.heartbeat_at > now() - v.lease as live from {schema}.workers v where v.id <> heartbeat.worker) o);
end
$$
