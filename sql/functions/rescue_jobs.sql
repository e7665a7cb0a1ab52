-- Jobs of workers whose heartbeat is older than their lease: back to their place in the queue (the lost attempt stays counted and is given back
-- to the budget), or failed once their worker vanished options.maxCrashes times (default 5). The worker's row goes when its last job has gone.
-- Two rescuers at once: the worker's row lock lets one through. A worker that was only slow finds its leases lost.
create or replace function {schema}.rescue_jobs(most integer, out rescued jsonb, out failed jsonb, out workers uuid[], out lanes jsonb, out due_ms double precision, out watched uuid[])
language plpgsql volatile
as $$
#variable_conflict use_column
declare
  lost record;
  back record;
  ends record;
begin
  select array_agg(w.id) into workers
  from (select id from {schema}.workers where heartbeat_at < now() - lease order by id limit 20 for update skip locked) w;
  if workers is null then
    return;
  end if;
  select array_agg(x.id) filter (where x.crashes + 1 < x.cap) as again,
    array_agg(x.id) filter (where x.crashes + 1 >= x.cap) as over,
    array_agg(jsonb_build_object('name', 'WorkerLostError', 'message',
      format('Its worker vanished while it ran, for the %s. time; maxCrashes is %s', x.crashes + 1, x.cap))) filter (where x.crashes + 1 >= x.cap) as errors,
    count(*) as n
  into lost
  from (select id, crashes, coalesce((options ->> 'maxCrashes')::integer, 5) as cap from {schema}.jobs
        where state = 'active' and worker_id = any (workers) order by id limit most for update) x;

  with returned as (
    update {schema}.jobs j set state = 'waiting', crashes = j.crashes + 1, max_attempts = j.max_attempts + 1,
      attempts = coalesce(j.attempts, '[]') || {schema}.attempt(j.attempt, j.started_at, j.worker_id,
        jsonb_build_object('name', 'WorkerLostError', 'message', 'Its worker vanished')),
      lease = null, worker_id = null, started_at = null, progress = null
    where j.id = any (lost.again) and not j.cancel_requested
    returning j.id, j.queue, j.task, j.priority, j.seq
  )
  select array_agg(id) as ids, jsonb_agg(jsonb_build_object('id', id, 'queue', queue, 'task', task)) as jobs, (select jsonb_agg(jsonb_build_array(queue, priority, seq)) from (select queue, priority, min(seq) as seq from returned group by 1, 2) l) as lanes
  into back from returned;
  rescued := back.jobs;
  lanes := back.lanes;

  -- A cancelled one ends now; nobody else will.
  select lost.over || array_agg(id), lost.errors || array_agg(coalesce(error, '{}')) into lost.over, lost.errors
  from {schema}.jobs where id = any (lost.again) and cancel_requested
  having count(*) > 0;
  if lost.over is not null then
    select jsonb_agg(jsonb_build_object('id', id, 'queue', queue, 'task', task)) into failed from {schema}.jobs where id = any (lost.over);
    update {schema}.jobs set crashes = crashes + 1 where id = any (lost.over);
    select e.lanes, e.due_ms, e.watched into ends
    from {schema}.settle(null, lost.over, null, array_fill('failed'::text, array[cardinality(lost.over)]), null, null, lost.errors, null) e;
    lanes := nullif(coalesce(lanes, '[]') || coalesce(ends.lanes, '[]'), '[]');
    due_ms := ends.due_ms;
    watched := ends.watched;
  end if;
  if lost.n < most then
    delete from {schema}.workers where id = any (workers);
  end if;
end
$$
