-- What stands between the job $1 (of queue $2, task $3, priority $4, seq of the job itself) and a worker: is its queue paused, which live workers
-- serve the queue, which of them know the task, how many jobs wait before it in its queue.
select
  coalesce((select q.paused from {schema}.queues q where q.name = $2), false) as paused,
  (select count(*)::integer from {schema}.workers w where w.heartbeat_at > now() - w.lease and $2 = any (w.queues)) as serving,
  (select count(*)::integer from {schema}.workers w where w.heartbeat_at > now() - w.lease and $2 = any (w.queues) and $3 = any (w.tasks)) as knowing,
  (select count(*)::integer from (
    select from {schema}.jobs o join {schema}.jobs j on j.id = $1
    where o.queue = $2 and o.state = 'waiting' and (o.priority < $4 or (o.priority = $4 and o.seq < j.seq)) limit 10000) before) as ahead
