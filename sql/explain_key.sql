-- Which job owns a key of the finished job $1, so that a retry leaves that one as it is (sql/functions/retry_jobs.sql).
select k.kind, k.key, k.job_id as owner
from (select * from {schema}.finished_jobs x where x.id = $1 limit 1) f
cross join lateral (values ('id', f.custom_id), ('key', f.dedup_key)) own (kind, key)
cross join lateral (select * from {schema}.keys x where x.queue = f.queue and x.kind = own.kind and x.key = own.key offset 0) k
where k.job_id <> f.id and (k.until is null or k.until > now())
order by k.kind limit 1
