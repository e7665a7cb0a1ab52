-- Calls the function insert_jobs (sql/functions/insert_jobs.sql).
select lanes, due_ms, subscribed from {schema}.insert_jobs($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
