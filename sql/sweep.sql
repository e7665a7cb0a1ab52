-- Every lane of the queues $1 that has waiting jobs, with the lowest seq in it, from zero: finds what lies below a worker's cursors (a transaction
-- that took its seq early and committed late, a job handed back, a notification lost).
-- Lane 32768 (LIMITED_LANE): jobs whose tasks have limits wait in the queue. Lane 32769 (LIMITED_QUEUE): the queue itself is limited.
-- Uses jobs_claim as a loose index scan: one probe a lane. Under an old snapshot each probe walks the lane's dead entries, so it runs on a budget.
-- `(select $n)`: whatever the length of a list, one plan, whose cost does not grow with it (docs/architecture.md, "Planner traps").
with recursive lane (queue, priority, seq) as (
  select f.* from unnest((select $1::text[])) q (name)
  cross join lateral (
    select j.queue, j.priority, j.seq from {schema}.jobs j where j.state = 'waiting' and j.limit_group is null and j.queue = q.name order by j.priority, j.seq limit 1
  ) f
  union all
  select n.* from lane
  cross join lateral (
    select j.queue, j.priority, j.seq from {schema}.jobs j
    where j.state = 'waiting' and j.limit_group is null and j.queue = lane.queue and j.priority > lane.priority order by j.priority, j.seq limit 1
  ) n
)
select queue, priority::integer, seq from lane
union all
select q.name, 32768, 0 from unnest((select $1::text[])) q (name)
where exists (select from {schema}.jobs j where j.state = 'waiting' and j.limit_group is not null and j.queue = q.name)
union all
select q.name, 32769, 0 from {schema}.queues q where q.name = any ((select $1::text[])::text[]) and (q.concurrency is not null or q.rate_limit is not null)
