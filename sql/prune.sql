-- Forgets what has outlived its time, at most $1 rows of each: keys, and finished jobs that are kept beyond the daily partitions.
with stale_keys as (
  delete from {schema}.keys where ctid = any (array (select ctid from {schema}.keys where until <= now() order by until limit $1 for update skip locked))
  returning 1
), stale_jobs as (
  delete from {schema}.finished_jobs_long where ctid = any (array (
    select ctid from {schema}.finished_jobs_long where keep_until <= now() order by keep_until limit $1 for update skip locked))
  returning 1
)
select (select count(*)::integer from stale_keys) as keys, (select count(*)::integer from stale_jobs) as jobs
