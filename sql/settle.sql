-- Calls the function settle (sql/functions/settle.sql): $1 worker, $2 ids, $3 leases, $4 outcomes, $5 delays, $6 results, $7 errors, $8 progress.
select settled, cancelled, watched, lanes, due_ms, exists (select from {schema}.subscribers where expires_at > now()) as subscribed from {schema}.settle($1, $2, $3, $4, $5, $6, $7, $8)
