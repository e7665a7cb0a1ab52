-- Jobs, live or finished, in one shape. A job that finishes in between is seen in one of the two: one statement has one snapshot.
-- Id by id: for a list of finished ones, a day's partition of which there are no statistics yet was read from one end to the other. There is one
-- row of an id; limit 1 says so to the planner, which believed in thousands.
-- A function for the sake of its settings (see settle): as a prepared statement, planned while the tables were empty, it read all of them for each job. Reads only.
create or replace function {schema}.snapshots(ids uuid[])
returns table (id uuid, task text, queue text, state {schema}.job_state, args text, priority smallint, attempt integer, max_attempts integer, attempts jsonb, progress jsonb,
  created_at timestamptz, run_at timestamptz, expires_at timestamptz, started_at timestamptz, finished_at timestamptz, result text, error jsonb, custom_id text,
  headers jsonb, worker_id uuid, parents uuid[], waiting_for uuid[])
language plpgsql stable
set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
begin
  return query
  select j.id, j.task, j.queue, j.state, j.args::text, j.priority, j.attempt, j.max_attempts, j.attempts, j.progress, j.created_at, j.run_at, j.expires_at,
    j.started_at, null::timestamptz, null::text, j.error, j.custom_id, j.headers, j.worker_id, j.parents,
    (select array_agg(d.parent_id) from {schema}.job_dependencies d where d.child_id = j.id)
  from unnest(snapshots.ids) r (id) cross join lateral (select * from {schema}.jobs x where x.id = r.id limit 1) j
  union all
  select f.id, f.task, f.queue, f.state, f.args::text, f.priority, f.attempt, f.max_attempts, f.attempts, f.progress, f.created_at, f.run_at, f.expires_at,
    f.started_at, f.finished_at, f.result::text, f.error, f.custom_id, f.headers, f.worker_id, f.parents, null
  from unnest(snapshots.ids) r (id) cross join lateral (select * from {schema}.finished_jobs x where x.id = r.id limit 1) f;
end
$$
