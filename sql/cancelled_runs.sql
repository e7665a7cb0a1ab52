-- Of the runs $1 (ids) with leases $2, those that worker $3 must abort: cancelled ones with the reason, and those that are no longer its own (gone).
-- `(select $n)`: whatever the length of a list, one plan, whose cost does not grow with it (docs/architecture.md, "Planner traps").
select r.id, j.error ->> 'message' as reason, j.id is null as gone
from unnest((select $1::uuid[]), (select $2::bigint[])) r (id, lease)
left join {schema}.jobs j on j.id = r.id and j.lease = r.lease and j.worker_id = $3
where j.id is null or j.cancel_requested
