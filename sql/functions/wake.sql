-- Tells the workers about claimable or delayed jobs: ["j", queue, priority, lowest seq], a lane a message, and ["d", milliseconds until due]; `mark` comes last,
-- if there is one. False: nothing was told.
-- Called inside the caller's transaction, so the messages leave when it commits. But a full queue of notifications would refuse that commit: while somebody
-- keeps the queue from getting shorter, nothing is told, and polling finds the jobs. To ask how full it is also lets Postgres clear it.
create or replace function {schema}.wake(channel text, lanes jsonb, due_ms double precision default null, mark text default null) returns boolean
language plpgsql volatile
as $$
declare
  ending jsonb := case when mark is null then '[]' else jsonb_build_array(mark) end;
begin
  if channel is null or pg_notification_queue_usage() > 0.5 then
    return false;
  end if;
  perform pg_notify(channel, (jsonb_build_array('j', l ->> 0, (l ->> 1)::integer, (l ->> 2)::bigint) || ending)::text)
  from jsonb_array_elements(coalesce(lanes, '[]'::jsonb)) l;
  if due_ms is not null then
    perform pg_notify(channel, (jsonb_build_array('d', ceil(due_ms)) || ending)::text);
  end if;
  return true;
end
$$
