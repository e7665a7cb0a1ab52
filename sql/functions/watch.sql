-- Somebody waits for the end of these jobs: whoever ends one of them will say so. Returns those that are live; the rest have ended, or never were.
-- marked: false where somebody holds the row just now; ask again in a moment (it may be a transaction that adds a child, and takes its time).
-- seq: of waiting jobs that were marked. A claim that came by in this moment has passed them over, so tell the workers of them again.
-- A function for the sake of its settings: see settle. Twice: finds them marked. Two at once: the row lock lets one through, the other asks again.
create or replace function {schema}.watch(ids uuid[]) returns table (id uuid, marked boolean, queue text, priority integer, seq bigint)
language plpgsql volatile
set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
begin
  return query
  with free as materialized (
    select j.id from {schema}.jobs j where j.id = any (watch.ids) and not j.watched order by j.id for no key update skip locked
  ), flagged as (
    update {schema}.jobs j set watched = true where j.id = any (array(select f.id from free f)) returning j.id, j.state, j.queue, {schema}.lane(j.priority, j.limit_group) as priority, j.seq
  )
  select f.id, true, f.queue, f.priority, case when f.state = 'waiting' then f.seq end from flagged f
  union all
  select j.id, j.watched, j.queue, j.priority::integer, null from {schema}.jobs j where j.id = any (watch.ids) and j.id not in (select f.id from free f);
end
$$
