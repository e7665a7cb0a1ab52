-- Takes failed, expired and cancelled jobs back to waiting: attempts count on, max_attempts grows by a fresh budget, a ttl begins anew.
-- (Budget and ttl of the first time stand in options from then on: the row's own grow with each retry.)
-- Children that are still blocked by them wait on. Returns the ids and the lanes. Twice: the second finds nothing finished.
create or replace function {schema}.retry_jobs(targets uuid[], out ids uuid[], out lanes jsonb)
language plpgsql volatile
as $$
#variable_conflict use_column
declare
  back record;
begin
  with gone as (
    delete from {schema}.finished_jobs where id = any (targets) and state in ('failed', 'expired', 'cancelled') returning *
  ), returned as (
    insert into {schema}.jobs (id, created_at, expires_at, scheduled_for, attempt, max_attempts, crashes, state, priority, has_children, keyed, queue, task, args,
      headers, options, attempts, error, custom_id, parents)
    select g.id, g.created_at, now() + g.ttl * interval '1 millisecond', g.scheduled_for, g.attempt, g.attempt + g.budget, 0, 'waiting', g.priority,
      exists (select from {schema}.job_dependencies d where d.parent_id = g.id), exists (select from {schema}.keys k where k.job_id = g.id),
      g.queue, g.task, g.args, g.headers,
      coalesce(g.options, '{}') || jsonb_strip_nulls(jsonb_build_object('budget', g.budget, 'ttl', g.ttl)),
      g.attempts, g.error, g.custom_id, g.parents
    from (select gone.*, coalesce({schema}.amount(options -> 'budget', 32768)::integer, greatest(max_attempts - crashes, 1)) as budget,
            coalesce({schema}.amount(options -> 'ttl', 3155760000000), extract(epoch from expires_at - created_at)::double precision * 1000) as ttl
          from gone) g
    order by g.finished_at
    on conflict do nothing
    returning id, queue, priority, seq
  )
  select array_agg(id) as ids,
    (select jsonb_agg(jsonb_build_array(queue, priority, seq)) from (select queue, priority, min(seq) as seq from returned group by 1, 2) l) as lanes
  into back from returned;
  ids := back.ids;
  lanes := back.lanes;
  update {schema}.keys k set until = null where k.job_id = any (ids) and k.kind = 'id';
end
$$
