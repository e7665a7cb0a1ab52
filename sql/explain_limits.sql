-- The limits over the waiting job $1, and how they stand: of its task under its keys, and of its queue. Null: no such limit. A room above 0 does not
-- hold it up; wait is in milliseconds until there is some, null when there never will be.
select j.concurrency_key, j.rate_key, t.concurrency, running.n as running, t.rate, task_rate.room as rate_room, task_rate.wait_ms as rate_wait,
  q.concurrency as queue_concurrency, in_queue.n as queue_running, q.rate_limit as queue_rate, queue_rate.room as queue_room, queue_rate.wait_ms as queue_wait
from {schema}.jobs j
left join lateral (
  select case when j.concurrency_key is not null then {schema}.amount(l.limits #> '{concurrency,limit}', 1000000)::integer end as concurrency,
    case when j.rate_key is not null and l.limits #> '{rate,limit}' <> 'null' then l.limits -> 'rate' end as rate
  from {schema}.tasks l where l.name = j.task
) t on true
left join {schema}.queues q on q.name = j.queue
cross join lateral (
  select count(*)::integer as n from {schema}.jobs r where r.state = 'active' and r.task = j.task and r.concurrency_key = j.concurrency_key
) running
cross join lateral (
  select count(*)::integer as n from {schema}.jobs r where r.state = 'active' and r.queue_limited and r.queue = q.name and q.concurrency is not null
) in_queue
cross join lateral {schema}.rate_room('task', j.task, j.rate_key, t.rate) task_rate
cross join lateral {schema}.rate_room('queue', j.queue, '', q.rate_limit) queue_rate
where j.id = $1 and j.state = 'waiting'
