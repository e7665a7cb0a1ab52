-- Notifies workers of one lane with claimable jobs: not all of them, since each would claim, and one finds the jobs.
-- Workers that have beaten within half their lease (they beat every quarter of it), serve the queue, know the task of the first of the jobs, and listen are picked here:
--   taker   a worker of the sender's own process that takes the jobs without a message; null: none.
--   meant   otherwise 4 ^ level workers at random: ["j", queue, priority, seq, level, lead] on the worker's own channel. lead: the first of them.
--           A worker that cannot take the jobs, or finds more than it can take, asks for the next level (relay in src/worker/claim/claimer.ts).
--   guard   the first worker by id in another process than those: ["g", queue, priority, seq]. It looks a moment later whether the jobs are gone.
--           First by id, so that the looks of many hints fall together in one worker.
-- The task is read from jobs_claim, from in_seq on: jobs that are gone, and those of all limited tasks together (priority 32768), say nothing.
-- Workers of version 0.1.0 (listens is null) listen on the schema's common channel alone. If there are any, or if there is nobody else, the message goes there:
-- ["j", queue, priority, seq, "+"?, mark?]. "+": workers that are picked by name must ignore it. mark: of the sender, which ignores its own messages.
-- With the owner's rights: producers need none on workers. Twice: one hint more. Two at once: nothing in common. What a pick misses (a worker that registers
-- just now looks for jobs itself after it has; one that ends just now has a guard) the poll finds.
-- A scan of workers, one row per worker, and one index probe. The settings keep that a probe, whatever the statistics say.
create or replace function {schema}.wake_lane(channel text, in_queue text, in_priority integer, in_seq bigint, mark text default null, taker uuid default null, level integer default 0) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  first_task text;
  picked record;
begin
  if in_priority <= 32767 then
    select j.task into first_task from {schema}.jobs j
    where j.state = 'waiting' and j.limit_group is null and j.queue = in_queue and j.priority = in_priority::smallint and j.seq >= in_seq order by j.seq limit 1;
  end if;
  with live as materialized (
    select w.id, w.host, w.pid, w.listens from {schema}.workers w
    where in_queue = any (w.queues) and w.listens is not false and w.heartbeat_at > clock_timestamp() - w.lease / 2
      and (first_task is null or first_task = any (w.tasks))
  ), taking as materialized (
    select w.id, w.host, w.pid from {schema}.workers w where w.id = taker and in_queue = any (w.queues) and (first_task is null or first_task = any (w.tasks))
  ), meant as materialized (
    select l.id, l.host, l.pid, row_number() over () = 1 as lead
    from (select * from live where listens and id is distinct from taker and (level > 0 or not exists (select from taking)) order by random() limit 4 ^ least(level, 8)) l
  ), guard as materialized (
    select l.id from live l
    where l.listens and not exists (select from meant m where m.host = l.host and m.pid = l.pid) and not exists (select from taking t where t.host = l.host and t.pid = l.pid)
    order by l.id limit 1
  )
  select (select count(pg_notify('pgtusk:' || m.id, json_build_array('j', in_queue, in_priority, in_seq, level, m.lead)::text)) from meant m) as meant,
    (select count(pg_notify('pgtusk:' || g.id, json_build_array('g', in_queue, in_priority, in_seq)::text)) from guard g) as guards,
    exists (select from taking) as taken, exists (select from live where listens is null) as old
  into picked;
  if picked.old or (picked.meant = 0 and not picked.taken) then
    perform pg_notify(channel, (jsonb_build_array('j', in_queue, in_priority, in_seq) || case when picked.meant > 0 or picked.taken then '["+"]'::jsonb else '[]' end
      || case when mark is null then '[]' else jsonb_build_array(mark) end)::text);
  end if;
end
$$
