-- Calls the function claim (sql/functions/claim.sql): $1 queue, $2 priorities, $3 cursors, $4 most, $5 worker, $6 tasks. The columns are read by their places.
select id, seq, priority, lease, task, attempt, max_attempts, args, options, headers, created_at, scheduled_for, subscribed, ttl
from {schema}.claim($1, $2, $3, $4, $5, $6)
