-- Calls next_due (sql/functions/next_due.sql).
select delayed, expiry, schedule, exists (select from {schema}.subscribers where expires_at > now()) as subscribed from {schema}.next_due()
