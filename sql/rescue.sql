-- Calls rescue_jobs (sql/functions/rescue_jobs.sql) for at most $1 jobs; $2: orphans too; for worker $3.
select rescued, ended, workers, lanes, due_ms, watched from {schema}.rescue_jobs($1, $2, $3)
