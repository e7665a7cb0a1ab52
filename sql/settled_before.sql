-- Of the jobs $1, which worker $2 ran as attempts $3: those whose outcome is recorded although the answer that said so was lost; with the reason
-- where a cancel had overruled it. One that has gone on since, or was not kept, cannot be told from one that was lost.
-- By primary key. Reads only.
-- `(select $n)`: whatever the length of a list, one plan, whose cost does not grow with it (docs/architecture.md, "Planner traps").
select r.id, case when x.state = 'cancelled' then x.error end as cancelled
from unnest((select $1::uuid[]), (select $3::integer[])) r (id, attempt)
cross join lateral (
  (select f.state::text, f.error from {schema}.finished_jobs f where f.id = r.id and f.worker_id = $2::uuid and f.attempt = r.attempt limit 1)
  union all
  select j.state::text, null from {schema}.jobs j
  where j.id = r.id and j.attempt = r.attempt and j.attempts @> jsonb_build_array(jsonb_build_object('attempt', r.attempt, 'worker', $2::uuid))
    -- A rescue writes its history too.
    and not j.attempts @> jsonb_build_array(jsonb_build_object('attempt', r.attempt, 'error', jsonb_build_object('name', 'WorkerLostError')))
) x
