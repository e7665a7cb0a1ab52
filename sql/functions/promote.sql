-- Delayed jobs whose time has come, at most `most`, become waiting. Returns the lanes. Uses jobs_due. A function for the sake of its settings: see sweep.
-- Twice: finds the next ones. Two at once share the rows (skip locked). Connection dies: nothing or all of it is done; sweeps find the jobs.
create or replace function {schema}.promote(most integer) returns table (queue text, priority integer, seq bigint, jobs integer)
language plpgsql volatile
set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
begin
  return query
  with due as materialized (
    select id from {schema}.jobs where state = 'delayed' and run_at <= now() order by run_at limit promote.most for update skip locked
  ), moved as (
    update {schema}.jobs j set state = 'waiting', seq = nextval('{schema}.job_seq') where j.id = any (array(select id from due)) returning j.queue, {schema}.lane(j.priority, j.limit_group) as priority, j.seq
  )
  select m.queue, m.priority, min(m.seq), count(*)::integer from moved m group by m.queue, m.priority;
end
$$
