-- Cancels jobs, live ones only. One that runs keeps running until its handler heeds the signal; its outcome is dropped. Returns those that it
-- touched; active = the part that workers must be told of; ended = those that ended now, and what ended in
-- consequence (see resolve_children).
create or replace function {schema}.cancel_jobs(targets uuid[], reason text, out ids uuid[], out active uuid[], out lanes jsonb, out due_ms double precision, out watched uuid[], out ended jsonb)
language plpgsql volatile
set jit = off set enable_seqscan = off set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
  failure jsonb := jsonb_build_object('name', 'JobCancelledError', 'message', coalesce(reason, 'The job was cancelled'));
  found record;
begin
  with locked as (
    select id, state, queue, task from {schema}.jobs where id = any (targets) order by id for update
  ), flagged as (
    update {schema}.jobs j set cancel_requested = true, error = failure where j.id = any (array(select id from locked where state = 'active')) and not j.cancel_requested returning j.id
  )
  select array_agg(l.id) filter (where l.state <> 'active') as still, (select array_agg(f.id) from flagged f) as running,
    jsonb_agg(jsonb_build_object('id', l.id, 'queue', l.queue, 'task', l.task, 'state', 'cancelled', 'error', failure)) filter (where l.state <> 'active') as told
  into found from locked l;
  active := found.running;
  ids := coalesce(found.still, '{}') || coalesce(found.running, '{}');
  if found.still is not null then
    select e.lanes, e.due_ms, e.watched, found.told || coalesce(e.ended, '[]') into lanes, due_ms, watched, ended
    from {schema}.settle(null, found.still, null, array_fill('cancelled'::text, array[cardinality(found.still)]), null, null,
      array_fill(failure, array[cardinality(found.still)]), null) e;
  end if;
end
$$
