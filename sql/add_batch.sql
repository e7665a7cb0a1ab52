-- insert_jobs, and wakes workers in a transaction after it: calls the procedure add_batch (sql/functions/add_batch.sql). $14 channel, $15 this client's mark.
call {schema}.add_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
