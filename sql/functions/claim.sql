-- Takes up to `most` waiting jobs of a queue for a worker, lane by lane in the order given: priorities, and cursors (nothing claimable lies at or
-- below a cursor, as far as this worker knows). Only tasks that this worker knows: a job of another task is passed over and burns nothing.
-- Uses jobs_claim: one ordered range per lane, from the cursor on, so dead entries before it are never walked. The lateral's limit stops each
-- range; the outer limit stops the lanes. Materialized: the planner may run an IN subselect again and lock more than the limit.
-- A paused queue yields nothing, nor does one with limits, nor jobs whose tasks have any: those are claim_limited's. One whose ttl has run out is left to expire.
-- Twice or two at once: skip locked gives each job to one; what a claim took whose answer was lost is found by lost_claims, or rescued.
-- By id, not by ctid: a row that was touched between the snapshot and its lock has another ctid by then, and would be passed over.
-- ttl is what is left of the job's own, in milliseconds: one that is claimed ahead may run out of it before its handler is called.
-- Its commit does not wait for the disk: a claim that a crash of the server forgets is a job that waits again, and its run has lost its lease. An outcome,
-- and all else that commits later, makes it durable too. Numbers that were lost with it are not given again: begin_epoch.
-- A function, and these settings, for one plan made once: as a statement it was planned anew at each claim (0.4 ms, as long as the claim of one
-- job takes), and a plan for any limit joined by a scan of the whole table (measured: 33 ms for 500 jobs instead of 8 ms).
-- No bitmap and no sort: made while the statistics said that the table has pages and no row, the plan read and sorted all that waits for each claim.
create or replace function {schema}.claim(queue text, priorities smallint[], cursors bigint[], most integer, worker uuid, tasks text[])
returns table (id uuid, seq bigint, priority smallint, lease bigint, task text, attempt integer, max_attempts integer, args jsonb, options jsonb, headers jsonb,
  created_at double precision, scheduled_for double precision, subscribed boolean, ttl double precision)
language plpgsql volatile
set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  durable boolean := false;
begin
  if not exists (select from {schema}.epoch e where e.server_started_at = pg_postmaster_start_time()) then
    perform {schema}.begin_epoch();
    durable := true;
  end if;
  return query
  with lease as materialized (
    select nextval('{schema}.lease_seq') as n, case when not durable then set_config('synchronous_commit', 'off', true) end
  ), picked as materialized (
    select p.id
    from unnest(claim.priorities, claim.cursors) lane (priority, cursor)
    cross join lateral (
      select j.id from {schema}.jobs j
      where j.state = 'waiting' and j.limit_group is null and j.queue = claim.queue and j.priority = lane.priority and j.seq > lane.cursor
        and (j.expires_at is null or j.expires_at > now()) and j.task = any (claim.tasks)
        and not exists (select from {schema}.queues q where q.name = claim.queue and (q.paused or q.concurrency is not null or q.rate_limit is not null))
      order by j.seq limit claim.most for update skip locked
    ) p
    limit claim.most
  )
  update {schema}.jobs j
  set state = 'active', attempt = j.attempt + 1, started_at = now(), worker_id = claim.worker, lease = (select n from lease)
  where j.id = any (array(select id from picked))
  returning j.id, j.seq, j.priority, j.lease, j.task, j.attempt, j.max_attempts, j.args, j.options, j.headers,
    date_part('epoch', j.created_at) as created_at, date_part('epoch', j.scheduled_for) as scheduled_for,
    exists (select from {schema}.subscribers where expires_at > now()) as subscribed,
    date_part('epoch', j.expires_at - now()) * 1000 as ttl;
end
$$
