-- Jobs have ended (or were removed): what does that mean for their children? In the transaction of the end, so no child is ever left behind.
--   completed, or an edge "run"   the edge goes; with its last edge a child becomes waiting (delayed, if its own time is still to come)
--   else "block"                  the edge stays, until the parent is retried and succeeds (one that is removed, or not kept, never can: then as "cancel")
--   else "fail" / "cancel"        the child ends failed / cancelled, which is an end for its own children in turn
-- ended: those that this ended, and theirs: [{id, queue, task, state, error}].
-- results: what completed parents returned; it goes into the children's args where an edge has paths.
-- `= any (array[…])`: see settle.
-- Children are locked in the order of their ids, so two parents that end at once cannot deadlock over the children that they share; each then
-- counts down the row that the other has committed.
create or replace function {schema}.resolve_children(parents uuid[], states text[], results jsonb[], out lanes jsonb, out due_ms double precision, out watched uuid[], out ended jsonb)
language plpgsql volatile
set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  freed record;
  doomed record;
  edge record;
  ends record;
begin
  perform from {schema}.jobs where id = any (array(select d.child_id from {schema}.job_dependencies d where d.parent_id = any (resolve_children.parents))) order by id for update;

  for edge in
    select d.child_id, array(select jsonb_array_elements_text(p.path)) as path, coalesce(e.result, '{"$undefined": true}') as value
    from unnest(resolve_children.parents, states, results) e (id, state, result)
    cross join lateral (select * from {schema}.job_dependencies x where x.parent_id = e.id offset 0) d
    cross join jsonb_array_elements(d.paths) p (path)
    where d.paths is not null and (e.state = 'completed' or d.on_failure = 'run')
  loop
    update {schema}.jobs j set args = jsonb_set(j.args, edge.path, edge.value) where j.id = edge.child_id;
  end loop;

  with allowed as (
    delete from {schema}.job_dependencies d using unnest(resolve_children.parents, states) e (id, state)
    where d.parent_id = any (array[e.id]) and (e.state = 'completed' or d.on_failure = 'run')
    returning d.child_id
  ), counted as (
    select child_id, count(*)::integer as n from allowed group by child_id
  ), released as (
    update {schema}.jobs j set
      pending_parents = j.pending_parents - c.n,
      state = (case when j.pending_parents > c.n then 'blocked' when j.run_at > now() then 'delayed' else 'waiting' end)::{schema}.job_state,
      seq = nextval('{schema}.job_seq')
    from counted c where j.id = any (array[c.child_id]) and j.state = 'blocked'
    returning j.queue, {schema}.lane(j.priority, j.limit_group) as priority, j.seq, j.state, j.run_at
  ), by_lane as (
    select queue, priority, min(seq) as seq from released where state = 'waiting' group by queue, priority
  )
  select (select jsonb_agg(jsonb_build_array(queue, priority, seq)) from by_lane) as lanes,
    extract(epoch from min(run_at) filter (where state = 'delayed') - now())::double precision * 1000 as due_ms
  into freed from released;
  lanes := freed.lanes;
  due_ms := freed.due_ms;

  select array_agg(child_id) as ids, array_agg(outcome) as outcomes, array_agg(x.error) as errors,
    jsonb_agg(jsonb_build_object('id', child_id, 'queue', j.queue, 'task', j.task, 'state', outcome, 'error', x.error)) as told
  into doomed
  from (select distinct on (d.child_id) d.child_id,
          case when d.on_failure = 'fail' then 'failed' else 'cancelled' end as outcome,
          jsonb_build_object('name', case when d.on_failure = 'fail' then 'JobFailedError' else 'JobCancelledError' end,
            'message', format('Its parent job %s %s', e.id, case e.state when 'failed' then 'failed' when 'removed' then 'was removed' else 'is ' || e.state end)) as error
        from unnest(resolve_children.parents, states) e (id, state)
        cross join lateral (select * from {schema}.job_dependencies x where x.parent_id = e.id offset 0) d
        where e.state <> 'completed'
          and (d.on_failure in ('fail', 'cancel') or e.state = 'removed' or not exists (select from {schema}.finished_jobs f where f.id = e.id offset 0))
        order by d.child_id, d.on_failure = 'fail' desc) x
  cross join lateral (select * from {schema}.jobs y where y.id = x.child_id offset 0) j;
  if doomed.ids is not null then
    select * into ends from {schema}.settle(null, doomed.ids, null, doomed.outcomes, null, null, doomed.errors, null);
    lanes := nullif(coalesce(lanes, '[]') || coalesce(ends.lanes, '[]'), '[]');
    due_ms := least(due_ms, ends.due_ms);
    watched := ends.watched;
    ended := doomed.told || coalesce(ends.ended, '[]');
  end if;
end
$$
