-- Jobs whose ttl ran out before they could start; at most `most` a call. ended: they, and what ended in consequence (see resolve_children). Uses jobs_expiry.
create or replace function {schema}.expire_jobs(most integer, out ended jsonb, out lanes jsonb, out due_ms double precision, out watched uuid[])
language plpgsql volatile
set jit = off set enable_seqscan = off set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
  due record;
  ends record;
begin
  select array_agg(x.id) as ids, array_agg('expired'::text) as outcomes,
    jsonb_agg(jsonb_build_object('id', x.id, 'queue', x.queue, 'task', x.task, 'state', 'expired', 'error', x.error)) as told, array_agg(x.error) as errors
  into due
  from (select j.id, j.queue, j.task, jsonb_build_object('name', 'JobExpiredError', 'message', format('Its ttl ran out %s after it was enqueued, before a run could start',
          date_trunc('milliseconds', j.expires_at - j.created_at))) as error
        from {schema}.jobs j
        where j.state <> 'active' and j.expires_at is not null and j.expires_at <= now() order by j.expires_at limit most for update skip locked) x;
  if due.ids is null then
    return;
  end if;
  select e.lanes, e.due_ms, e.watched, due.told || coalesce(e.ended, '[]') into lanes, due_ms, watched, ended from {schema}.settle(null, due.ids, null, due.outcomes, null, null, due.errors, null) e;
end
$$
