-- Which job owns a key of the finished job $1, so that a retry leaves that one as it is (sql/functions/retry_jobs.sql).
select k.kind, k.key, k.job_id as owner
from {schema}.finished_jobs f join {schema}.keys k on k.queue = f.queue
  and (k.kind = 'id' and k.key = f.custom_id or k.kind = 'key' and k.key = f.dedup_key)
where f.id = $1 and k.job_id <> f.id and (k.until is null or k.until > now())
order by k.kind limit 1
