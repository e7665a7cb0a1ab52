-- Every lane of these queues, but of paused ones, that has waiting jobs, with the lowest seq in it, from zero: finds what lies below a worker's cursors (a transaction
-- that took its seq early and committed late, a job handed back, a notification lost).
-- Lane 32768 (LIMITED_LANE): jobs whose tasks have limits wait in the queue. Lane 32769 (LIMITED_QUEUE): the queue itself is limited.
-- A row without a queue: the milliseconds until something falls due (0 or less: it is late; null: nothing will), see next_due.
-- Uses jobs_claim as a loose index scan: one probe a lane. Under an old snapshot each probe walks the lane's dead entries, so it runs on a budget.
-- A function for the sake of its settings: planned anew each time, it took ten times as long, and what was planned while the table was empty read all of it.
create or replace function {schema}.sweep(queues text[]) returns table (queue text, priority integer, seq bigint)
language plpgsql stable
set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
begin
  return query
  with recursive open (name) as materialized (
    select n from unnest(sweep.queues) n where not exists (select from {schema}.queues q where q.name = n and q.paused)
  ), lane (queue, priority, seq) as (
    select f.* from open q
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
  select lane.queue, lane.priority::integer, lane.seq from lane
  union all
  select q.name, 32768, 0 from open q
  where exists (select from {schema}.jobs j where j.state = 'waiting' and j.limit_group is not null and j.queue = q.name offset 0)
  union all
  select q.name, 32769, 0 from {schema}.queues q where q.name = any (sweep.queues) and (q.concurrency is not null or q.rate_limit is not null)
  union all
  select null, 0, ceil(least(d.delayed, d.expiry, d.schedule))::bigint from {schema}.next_due() d;
end
$$
