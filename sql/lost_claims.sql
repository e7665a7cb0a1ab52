-- What worker $1 may hold without knowing it: active jobs that began more than $2 ms ago under none of the leases $3.
-- Only a read: by the time of the answer the worker knows which of them it holds after all, and gives the rest back by settle, fenced.
-- Uses jobs_leased.
-- `(select $n)`: whatever the length of a list, one plan, whose cost does not grow with it (docs/architecture.md, "Planner traps").
select j.id, j.lease
from {schema}.jobs j
where j.state = 'active' and j.worker_id = $1 and j.started_at < now() - $2::double precision * interval '1 millisecond' and j.lease <> all ((select $3::bigint[])::bigint[])
order by row(j.id)
