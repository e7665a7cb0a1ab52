-- Of the runs $1 (ids) with leases $2, those that worker $3 must abort: cancelled ones with the reason, and those that are no longer its own (gone).
-- `(select $n)`: whatever the length of a list, one plan, whose cost does not grow with it, and a look-up for each run (docs/architecture.md, "Planner traps").
select r.id, j.error ->> 'message' as reason, j.id is null as gone
from unnest((select $1::uuid[]), (select $2::bigint[])) r (id, lease)
left join lateral (select * from {schema}.jobs x where x.id = r.id and x.lease = r.lease and x.worker_id = $3 offset 0) j on true
where j.id is null or j.cancel_requested
