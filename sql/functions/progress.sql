-- Stores the progress of runs. Fenced; touches no indexed column.
-- A function for the sake of its settings, and `any (array[p.id])`: see settle. Uses jobs_pkey for every row.
-- Twice, or two at once: the later value stays. Connection dies: nothing or all of it is done, and it is sent again.
create or replace function {schema}.progress(worker uuid, ids uuid[], leases bigint[], progress jsonb[]) returns void
language plpgsql volatile
set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
begin
  update {schema}.jobs j set progress = p.progress
  from unnest(progress.ids, progress.leases, progress.progress) p (id, lease, progress)
  where j.id = any (array[p.id]) and j.lease = p.lease and j.worker_id = progress.worker;
end
$$
