-- Calls sweep (sql/functions/sweep.sql) for the queues $1.
select queue, priority, seq from {schema}.sweep($1)
