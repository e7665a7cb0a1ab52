-- The worker $1 lives and runs $2 jobs. No row: it was taken for dead. Of its runs $3 (ids) with leases $4: the jobs of those that have been cancelled,
-- and the places in the list, from 1, of those that are no longer its own (a job may be there twice, a run of which the worker had given up beside its
-- next one; and a lease, which all jobs of a claim share). By primary key, run by run (hence the
-- offsets: see settle): an index on the worker would have to walk the entries of all the jobs that it ever ran. versions: a migration may have closed the
-- schema to this version of the package since it looked (whose table workers, and these columns of jobs and meta, any later schema therefore keeps).
-- $5: it may be woken by notifications on its own channel.
-- fleet: its place among the live workers (0: the first; those that listen stand first, then by id), how many other live workers there are, and the milliseconds
-- until the next of the others is to be taken for dead unless it beats again (0 or less: it is late; null: there is no other). Reads all rows of workers.
-- `(select $n)`: whatever the length of a list, one plan, whose cost does not grow with it (docs/architecture.md, "Planner traps").
update {schema}.workers w set heartbeat_at = now(), running = $2, listens = $5 where w.id = $1
returning
  (select array_agg(j.id) from unnest((select $3::uuid[]), (select $4::bigint[])) r (id, lease)
   cross join lateral (select * from {schema}.jobs x where x.id = r.id and x.lease = r.lease and x.cancel_requested offset 0) j) as cancelled,
  (select array_agg(r.place::integer) from unnest((select $3::uuid[]), (select $4::bigint[])) with ordinality r (id, lease, place)
   where not exists (select from {schema}.jobs j where j.id = r.id and j.lease = r.lease and j.worker_id = $1 offset 0)) as lost,
  (select array[m.version, m.min_version] from {schema}.meta m) as versions,
  (select array[count(*) filter (where o.live and (o.listens is not true, o.id) < (not $5::boolean, $1::uuid)), count(*) filter (where o.live),
     extract(epoch from min(o.heartbeat_at + o.lease) - now()) * 1000]::double precision[]
   from (select v.id, v.listens, v.heartbeat_at, v.lease, v.heartbeat_at > now() - v.lease as live from {schema}.workers v where v.id <> $1) o) as fleet
