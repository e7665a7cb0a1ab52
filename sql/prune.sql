-- Forgets what has outlived its time, at most $1 rows of each: keys, what rate limits have seen, and finished jobs that are kept beyond the daily
-- partitions. Rates have no index on time, and few rows: a row a key that was used within its window.
with stale_keys as (
  delete from {schema}.keys where ctid = any (array (select ctid from {schema}.keys where until <= now() order by until limit $1 for update skip locked))
  returning 1
), stale_rates as (
  delete from {schema}.rates where ctid = any (array (select ctid from {schema}.rates where expires_at <= now() limit $1 for update skip locked))
  returning 1
), stale_jobs as (
  delete from {schema}.finished_jobs_long where ctid = any (array (
    select ctid from {schema}.finished_jobs_long where keep_until <= now() order by keep_until limit $1 for update skip locked))
  returning 1
)
select (select count(*)::integer from stale_keys) as keys, (select count(*)::integer from stale_rates) as rates, (select count(*)::integer from stale_jobs) as jobs
