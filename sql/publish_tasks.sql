-- Publishes tasks for producers without their code: $1 names, $2 queues, $3 priorities, $4 retries, $5 ttls in ms, $6 options, $7 limits. In the order
-- of the names, so that two workers that start at once cannot deadlock; what is unchanged is not written.
-- Jobs that were stored before their task had a limit get the key of jobs without a key function, once, when the change is published; running ones too,
-- so that they are counted. There is no index on the task: that walks all live jobs. They are locked in the order of their ids.
with published as (
  insert into {schema}.tasks as t (name, queue, priority, retries, ttl_ms, options, limits)
  select * from unnest($1::text[], $2::text[], $3::smallint[], $4::integer[], $5::double precision[], $6::jsonb[], $7::jsonb[])
    n (name, queue, priority, retries, ttl_ms, options, limits)
  order by name
  on conflict (name) do update
  set queue = excluded.queue, priority = excluded.priority, retries = excluded.retries, ttl_ms = excluded.ttl_ms, options = excluded.options,
    limits = excluded.limits, published_at = now()
  where (t.queue, t.priority, t.retries, t.ttl_ms, t.options, t.limits)
    is distinct from (excluded.queue, excluded.priority, excluded.retries, excluded.ttl_ms, excluded.options, excluded.limits)
  returning t.name, t.limits
), without_key as materialized (
  select j.id, coalesce(j.concurrency_key, case when p.limits ? 'concurrency' then '' end) as concurrency_key,
    coalesce(j.rate_key, case when p.limits ? 'rate' then '' end) as rate_key
  from {schema}.jobs j join published p on p.name = j.task
  where (p.limits ? 'concurrency' and j.concurrency_key is null) or (p.limits ? 'rate' and j.rate_key is null)
  order by j.id for update of j
)
update {schema}.jobs j
set concurrency_key = w.concurrency_key, rate_key = w.rate_key, limit_group = {schema}.limit_group(j.task, w.concurrency_key, w.rate_key)
from without_key w where j.id = w.id
