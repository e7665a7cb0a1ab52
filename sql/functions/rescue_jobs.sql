-- Jobs of workers whose heartbeat is older than their lease: back to their place in the queue (the lost attempt stays counted and is given back
-- to the budget), or failed once their worker vanished options.maxCrashes times (default 5). The worker's row goes when its last job has gone.
-- ended: those that failed or were cancelled, and what ended in consequence (see resolve_children).
-- orphans: look also for jobs whose worker has no row any more (it claimed at the moment when it was taken for dead); that walks all of
-- jobs_leased, so it is asked for seldom.
-- self: the worker that asks, which lives whatever its row says: after an outage it hands its jobs back by itself, and their attempts were no crash.
-- Two rescuers at once: the worker's row lock lets one through. A worker that was only slow finds its leases lost.
-- A job whose row is locked just now (by a completion whose host has vanished before its commit, say) must not hold up the others: it is passed over,
-- and the worker's row stays until it has gone too. workers: those that something was done about.
create or replace function {schema}.rescue_jobs(most integer, orphans boolean, self uuid, out rescued jsonb, out ended jsonb, out workers uuid[], out lanes jsonb, out due_ms double precision, out watched uuid[])
language plpgsql volatile
set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  lost record;
  over_ids uuid[];
  over_errors jsonb[];
  back record;
  ends record;
begin
  select array_agg(w.id) into workers
  from (select id from {schema}.workers where heartbeat_at < now() - lease and id <> self order by id limit 20 for update skip locked) w;
  if orphans then
    select nullif(coalesce(workers, '{}') || coalesce(array_agg(distinct j.worker_id), '{}'), '{}') into workers
    from {schema}.jobs j where j.state = 'active' and not exists (select from {schema}.workers w where w.id = j.worker_id offset 0);
  end if;
  if workers is null then
    return;
  end if;
  select array_agg(x.id) filter (where x.crashes + 1 < x.cap) as again,
    array_agg(x.id) filter (where x.crashes + 1 >= x.cap) as over,
    array_agg(jsonb_build_object('name', 'WorkerLostError', 'message',
      format('Its worker vanished while it ran, for the %s. time; maxCrashes is %s', x.crashes + 1, x.cap))) filter (where x.crashes + 1 >= x.cap) as errors
  into lost
  from (select id, crashes, coalesce({schema}.amount(options -> 'maxCrashes', 1000000)::integer, 5) as cap from {schema}.jobs
        where state = 'active' and worker_id = any (rescue_jobs.workers) order by row(id) limit most for update skip locked) x;

  with returned as (
    update {schema}.jobs j set state = 'waiting', crashes = j.crashes + 1, max_attempts = j.max_attempts + 1,
      attempts = coalesce(j.attempts, '[]') || {schema}.attempt(j.attempt, j.started_at, j.worker_id,
        jsonb_build_object('name', 'WorkerLostError', 'message', 'Its worker vanished')),
      lease = null, worker_id = null, started_at = null, progress = null
    where j.id = any (lost.again) and not j.cancel_requested
    returning j.id, j.queue, j.task, j.attempt, {schema}.lane(j.priority, j.limit_group) as priority, j.seq
  )
  select array_agg(id) as ids, jsonb_agg(jsonb_build_object('id', id, 'queue', queue, 'task', task, 'attempt', attempt)) as jobs, (select jsonb_agg(jsonb_build_array(queue, priority, seq)) from (select queue, priority, min(seq) as seq from returned group by 1, 2) l) as lanes
  into back from returned;
  rescued := back.jobs;
  lanes := back.lanes;

  -- A cancelled one ends now; nobody else will. (Its flag turns the outcome into cancelled.)
  select coalesce(lost.over, '{}') || coalesce(array_agg(id), '{}'), coalesce(lost.errors, '{}') || coalesce(array_agg(coalesce(error, '{}')), '{}')
  into over_ids, over_errors
  from {schema}.jobs where id = any (lost.again) and cancel_requested;
  if cardinality(over_ids) > 0 then
    select jsonb_agg(jsonb_build_object('id', j.id, 'queue', j.queue, 'task', j.task, 'attempt', j.attempt,
      'state', case when j.cancel_requested then 'cancelled' else 'failed' end, 'error', case when j.cancel_requested then j.error else o.error end))
    into ended from {schema}.jobs j join unnest(over_ids, over_errors) o (id, error) on j.id = any (array[o.id]);
    -- What ran under a limit makes room.
    select coalesce(lanes, '[]') || coalesce(jsonb_agg(distinct jsonb_build_array(queue, 32768, 0)), '[]') into lanes
    from {schema}.jobs where id = any (over_ids) and (concurrency_key is not null or queue_limited);
    update {schema}.jobs set crashes = crashes + 1 where id = any (over_ids);
    select e.lanes, e.due_ms, e.watched, e.ended into ends
    from {schema}.settle(null, over_ids, null, array_fill('failed'::text, array[cardinality(over_ids)]), null, null, over_errors, null) e;
    lanes := nullif(coalesce(lanes, '[]') || coalesce(ends.lanes, '[]'), '[]');
    due_ms := ends.due_ms;
    watched := ends.watched;
    ended := ended || coalesce(ends.ended, '[]');
  end if;
  with gone as (
    delete from {schema}.workers w
    where w.id = any (rescue_jobs.workers) and not exists (select from {schema}.jobs j where j.state = 'active' and j.worker_id = w.id offset 0)
    returning w.id
  )
  select case when rescued is null and ended is null then (select array_agg(g.id) from gone g) else rescue_jobs.workers end into workers;
end
$$
