-- Deletes jobs, live or finished, with their keys and edges. Children learn that the parent is gone; ended = those that this ended. active = those that a worker must abort.
-- Locks: live jobs, then their keys, as settle; of finished jobs the keys, then their rows, as retry_jobs.
-- in_states: those of them that are in one of these states by now; null: any.
create or replace function {schema}.remove_jobs(targets uuid[], in_states text[] default null, out ids uuid[], out active uuid[], out lanes jsonb, out due_ms double precision, out watched uuid[], out ended jsonb)
language plpgsql volatile
set jit = off set enable_seqscan = off set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
  live record;
  past uuid[];
  resolved record;
begin
  perform from {schema}.jobs where id = any (targets) order by id for update;
  perform from {schema}.keys k where k.job_id = any (targets) order by (k.queue, k.kind, k.key) for update;
  with gone as (delete from {schema}.jobs where id = any (targets) and (in_states is null or state::text = any (in_states)) returning id, state, has_children, watched, queue, concurrency_key is not null or queue_limited as limited)
  select array_agg(id) as ids, array_agg(id) filter (where state = 'active') as active, array_agg(id) filter (where watched) as watched,
    -- What ran under a limit makes room.
    jsonb_agg(distinct jsonb_build_array(queue, 32768, 0)) filter (where state = 'active' and limited) as freed into live from gone;
  with gone as (delete from {schema}.finished_jobs where id = any (targets) and (in_states is null or state::text = any (in_states)) returning id)
  select array_agg(id) into past from gone;
  ids := coalesce(live.ids, '{}') || coalesce(past, '{}');
  active := live.active;
  watched := live.watched;
  if cardinality(ids) = 0 then
    return;
  end if;
  delete from {schema}.keys k where k.job_id = any (ids);
  delete from {schema}.job_dependencies d where d.child_id = any (ids);
  select r.lanes, r.due_ms, r.watched, r.ended into resolved from {schema}.resolve_children(ids, array_fill('removed'::text, array[cardinality(ids)]), null) r;
  lanes := nullif(coalesce(live.freed, '[]') || coalesce(resolved.lanes, '[]'), '[]');
  due_ms := resolved.due_ms;
  ended := resolved.ended;
  watched := coalesce(watched, '{}') || coalesce(resolved.watched, '{}');
end
$$
