-- Notifies workers of claimable jobs and of jobs that fall due: wake_lane for each of `lanes`, [[queue, priority, lowest seq, taker?, level?], …], and wake_due.
-- mark: "@" and the sender's mark, and, after a space, the id of a worker in its process that takes the jobs, if there is one. False: nothing was sent.
-- Called inside the caller's transaction, so the messages leave when it commits. But a full queue of notifications would refuse that commit: while a
-- listener keeps the queue from getting shorter, nothing is sent, and polling finds the jobs. Asking how full it is also lets Postgres clear it.
create or replace function {schema}.wake(channel text, lanes jsonb, due_ms double precision default null, mark text default null) returns boolean
language plpgsql volatile
as $$
declare
  sender constant text := nullif(split_part(coalesce(mark, ''), ' ', 1), '');
  taker constant uuid := nullif(split_part(coalesce(mark, ''), ' ', 2), '')::uuid;
begin
  if channel is null or pg_notification_queue_usage() > 0.5 then
    return false;
  end if;
  perform {schema}.wake_lane(channel, l ->> 0, (l ->> 1)::integer, (l ->> 2)::bigint, sender, coalesce((l ->> 3)::uuid, taker), coalesce((l ->> 4)::integer, 0))
  from jsonb_array_elements(coalesce(lanes, '[]'::jsonb)) l;
  if due_ms is not null then
    perform {schema}.wake_due(channel, due_ms, sender);
  end if;
  return true;
end
$$
