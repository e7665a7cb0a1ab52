-- Calls expire_jobs (sql/functions/expire_jobs.sql) for at most $1 jobs.
select ended, lanes, due_ms, watched from {schema}.expire_jobs($1)
