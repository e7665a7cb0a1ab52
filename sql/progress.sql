-- Stores the progress of runs: $1 worker, $2 ids, $3 leases, $4 progress. Fenced; touches no indexed column.
-- `(select $n)`: whatever the length of a list, one plan, whose cost does not grow with it (docs/architecture.md, "Planner traps").
with stored as (
update {schema}.jobs j set progress = p.progress
from unnest((select $2::uuid[]), (select $3::bigint[]), (select $4::jsonb[])) p (id, lease, progress)
where j.id = p.id and j.lease = p.lease and j.worker_id = $1
)
select exists (select from {schema}.subscribers where expires_at > now()) as subscribed
