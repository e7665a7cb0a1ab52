-- The jobs $1, live or finished, in one shape. A job that finishes in between is seen in one of the two: one statement has one snapshot.
-- The finished ones id by id: for a list of them, a day's partition of which there are no statistics yet was read from one end to the other. There is one
-- row of an id; limit 1 says so to the planner, which believed in thousands and had the plan compiled.
-- `(select $n)`: whatever the length of a list, one plan, whose cost does not grow with it (docs/architecture.md, "Planner traps").
select j.id, j.task, j.queue, j.state, j.args::text as args, j.priority, j.attempt, j.max_attempts, j.attempts, j.progress, j.created_at, j.run_at, j.expires_at,
  j.started_at, null::timestamptz as finished_at, null::text as result, j.error, j.custom_id, j.headers, j.worker_id, j.parents,
  (select array_agg(d.parent_id) from {schema}.job_dependencies d where d.child_id = j.id) as waiting_for
from {schema}.jobs j where j.id = any ((select $1::uuid[])::uuid[])
union all
select f.id, f.task, f.queue, f.state, f.args::text, f.priority, f.attempt, f.max_attempts, f.attempts, f.progress, f.created_at, f.run_at, f.expires_at,
  f.started_at, f.finished_at, f.result::text, f.error, f.custom_id, f.headers, f.worker_id, f.parents, null
from unnest((select $1::uuid[])) r (id) cross join lateral (select * from {schema}.finished_jobs x where x.id = r.id limit 1) f
