-- Children that are blocked by a job that exists no more (its retention is over): it can never be retried, so they end as if it had been removed.
-- Looks at every open edge, so it is called once an hour; at most `most` parents a call.
-- Twice at once: the children's locks let one through, the other finds the edges gone.
create or replace function {schema}.abandon_children(most integer, out gone_parents integer, out lanes jsonb, out due_ms double precision, out watched uuid[], out ended jsonb)
language plpgsql volatile
set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  gone uuid[];
begin
  -- One statement, so one snapshot: a job that moves from one table to the other is seen in one of them.
  select array_agg(x.parent_id) into gone
  from (select distinct d.parent_id from {schema}.job_dependencies d
        where not exists (select from {schema}.jobs j where j.id = d.parent_id offset 0)
          and not exists (select from {schema}.finished_jobs f where f.id = d.parent_id offset 0) limit most) x;
  gone_parents := coalesce(cardinality(gone), 0);
  if gone is not null then
    select r.lanes, r.due_ms, r.watched, r.ended into lanes, due_ms, watched, ended
    from {schema}.resolve_children(gone, array_fill('removed'::text, array[cardinality(gone)]), null) r;
  end if;
end
$$
