-- Calls snapshots (sql/functions/snapshots.sql) for the jobs $1.
select id, task, queue, state, args, priority, attempt, max_attempts, attempts, progress, created_at, run_at, expires_at, started_at, finished_at, result, error,
  custom_id, headers, worker_id, parents, waiting_for
from {schema}.snapshots($1)
