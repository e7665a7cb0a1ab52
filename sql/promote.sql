-- Calls promote (sql/functions/promote.sql) for at most $1 jobs.
select queue, priority, seq, jobs from {schema}.promote($1)
