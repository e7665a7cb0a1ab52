-- Calls claim_limited (sql/functions/claim_limited.sql): $1 queue, $2 how many, $3 worker, $4 the tasks that it knows, $5 where it stands, $6 where the round began.
select * from {schema}.claim_limited($1, $2, $3, $4, $5, $6)
