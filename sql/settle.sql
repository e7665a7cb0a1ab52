-- Calls the function settle (sql/functions/settle.sql): $1 worker, $2 ids, $3 leases, $4 outcomes, $5 delays, $6 results, $7 errors, $8 progress. settled is null when all of them were ours.
-- Also runs at the end of a handler's own transaction, whose search_path is the application's: so names and operators are Postgres's by name.
select case when pg_catalog.cardinality(settled) operator(pg_catalog.=) pg_catalog.cardinality($2::pg_catalog.uuid[]) then null else coalesce(settled, '{}') end as settled,
  cancelled, watched, lanes, due_ms, ended, exists (select from {schema}.subscribers where expires_at operator(pg_catalog.>) pg_catalog.now()) as subscribed
from {schema}.settle($1, $2, $3, $4, $5, $6, $7, $8)
