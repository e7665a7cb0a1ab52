-- Calls progress (sql/functions/progress.sql): $1 worker, $2 ids, $3 leases, $4 progress.
select exists (select from {schema}.subscribers where expires_at > now()) as subscribed from {schema}.progress($1, $2, $3, $4)
