-- The same, and wakes workers in a transaction after it: calls the procedure add_job (sql/functions/add_job.sql). $9 channel, $10 this client's mark.
call {schema}.add_job($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
