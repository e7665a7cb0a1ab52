-- Stores the progress of runs: $1 worker, $2 ids, $3 leases, $4 progress. Fenced; touches no indexed column.
with stored as (
update {schema}.jobs j set progress = p.progress
from unnest($2::uuid[], $3::bigint[], $4::jsonb[]) p (id, lease, progress)
where j.id = p.id and j.lease = p.lease and j.worker_id = $1
)
select exists (select from {schema}.subscribers where expires_at > now()) as subscribed
