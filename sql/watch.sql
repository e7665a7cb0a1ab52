-- Calls watch (sql/functions/watch.sql) for the jobs $1.
select id, marked, queue, priority, seq from {schema}.watch($1)
