-- The worker $1 lives and runs $2 jobs. No row: it was taken for dead. Returns its jobs that have been cancelled, and of the runs $3 (ids) with
-- leases $4 those that are no longer its own.
update {schema}.workers w set heartbeat_at = now(), running = $2 where w.id = $1
returning
  (select array_agg(j.id) from {schema}.jobs j where j.worker_id = $1 and j.state = 'active' and j.cancel_requested) as cancelled,
  (select array_agg(r.id) from unnest($3::uuid[], $4::bigint[]) r (id, lease)
   where not exists (select from {schema}.jobs j where j.id = r.id and j.lease = r.lease and j.worker_id = $1)) as lost
