-- Calls heartbeat (sql/functions/heartbeat.sql): $1 worker, $2 how many jobs it runs, $3 their ids, $4 their leases, $5 whether it may be woken on its own channel.
select cancelled, lost, versions, fleet from {schema}.heartbeat($1, $2, $3, $4, $5)
