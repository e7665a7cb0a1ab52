-- The one way in which a run, or a whole job, ends. One call takes a batch of any mixture of outcomes.
--
--   worker, leases   the fence: a row is touched only if it still carries this worker and this lease. leases null: the caller holds the rows'
--                    locks and speaks for the schema (expire, cancel, rescue), so there is nothing to fence.
--   outcomes         completed | failed | expired | cancelled  the job ends;
--                    retry      runs again after delays[i] ms: a failed attempt is recorded;
--                    snoozed    runs again after delays[i] ms and gives the attempt back;
--                    released   back to its place in the queue, attempt given back (claimed, not started; or a shutdown).
--   results, errors  what to store; error of a retry goes to the history of attempts.
--   progress         the last one reported and not yet stored.
--
-- A cancelled flag on the row wins over any outcome: the late result is dropped and the job ends cancelled.
-- Returns: settled = ids that were ours (the rest have lost their lease); cancelled = {id: error} of
-- those that ended cancelled by the flag; watched = those whose end somebody waits for; lanes = [[queue, priority, lowest seq]] that became
-- claimable; due_ms = until the earliest delayed one; ended = children that ended in consequence (see resolve_children).
--
-- Twice, or after a commit whose answer was lost: the second call finds no row with that lease and changes nothing.
-- Rows are taken in the order of their ids, as by all who lock several: so it cannot deadlock with a call that enqueues children of two of them.
-- Two at once on one row: the row lock lets one through, the other finds it gone. Connection dies: nothing or all of it is done.
-- The settings hold it to one plan whatever the statistics say: a lookup by key for each row. Planned for the length of a batch, the planner
-- preferred to hash the whole table once the batch was large (measured: 250 ms for 900 jobs of 100,000 instead of 9 ms).
-- `= any (array[s.id])`, not `= s.id`: the latter can be read the other way round as well, each job looked up in the batch, and is, by a plan made while
-- the statistics say that the table has pages and no row (measured: 20,000 waiting, 200 outcomes, 4 million comparisons). So with all joins in here; and
-- with conditions that an index could be read by from one end to the other, as `(k.kind = 'id') is true`. All rules: docs/architecture.md, "Planner traps".
-- Uses: jobs_pkey for every row (id, never state: with statistics taken while nothing was active, a state condition made the planner scan
-- jobs_leased once a row).
create or replace function {schema}.settle(
  worker uuid, ids uuid[], leases bigint[], outcomes text[], delays double precision[], results jsonb[], errors jsonb[], progress jsonb[],
  out settled uuid[], out cancelled jsonb, out watched uuid[], out lanes jsonb, out due_ms double precision, out ended jsonb)
language plpgsql volatile
set plan_cache_mode = 'force_generic_plan' set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set search_path = pg_catalog, pg_temp set extra_float_digits = 1
as $$
#variable_conflict use_column
declare
  goes_on boolean := false;
  any_keyed boolean;
  any_unsaid boolean;
  any_blocked boolean;
  parents uuid[];
  parent_states text[];
  parent_results jsonb[];
  repeats jsonb;
  back record;
  freed record;
  resolved record;
begin
  -- Two statements decide by the flag, one for those that end and one for those that go on: nobody may set it between them.
  if 'retry' = any (outcomes) or 'snoozed' = any (outcomes) or 'released' = any (outcomes) then
    goes_on := true;
    perform from {schema}.jobs j where j.id = any (ids) order by j.id for update;
  end if;

  with s as (
    select * from unnest(ids, leases, outcomes, delays, results, errors, progress) s (id, lease, outcome, delay, result, error, last_progress) order by id
  ), gone as (
    delete from {schema}.jobs j using s
    where j.id = any (array[s.id]) and (leases is null or (j.lease = s.lease and j.worker_id = worker))
      and (j.cancel_requested or s.outcome in ('completed', 'failed', 'expired', 'cancelled'))
    returning j.*, s.result, s.last_progress,
      (case when j.cancel_requested then 'cancelled' else s.outcome end)::{schema}.job_state as final,
      j.cancel_requested and s.outcome <> 'cancelled' as overruled,
      case when j.cancel_requested and s.outcome <> 'cancelled' then j.error else s.error end as last_error
  ), kept as (
    insert into {schema}.finished_jobs (id, created_at, started_at, expires_at, run_at, scheduled_for, keep_until, worker_id, attempt, max_attempts,
      crashes, drop_on, state, priority, queue, task, args, headers, options, progress, attempts, result, error, custom_id, concurrency_key, rate_key, parents, dedup_key, dedup_ttl_ms)
    select g.id, g.created_at, g.started_at, g.expires_at, g.run_at, g.scheduled_for,
      case when g.day = 'infinity' then now() + {schema}.amount((coalesce(g.q_keep, '{}') || coalesce(g.options -> 'keep', '{}')) -> case g.final when 'completed' then 'completed' else 'failed' end, 3155760000000) * interval '1 millisecond' end,
      g.worker_id, g.attempt, g.max_attempts, g.crashes, g.day, g.final, g.priority, g.queue, g.task, g.args, g.headers, g.options, coalesce(g.last_progress, g.progress),
      case when g.final <> 'completed' and g.started_at is not null
        then coalesce(g.attempts, '[]') || {schema}.attempt(g.attempt, g.started_at, g.worker_id, g.last_error) else g.attempts end,
      case when g.final = 'completed' then g.result end, g.last_error, g.custom_id, g.concurrency_key, g.rate_key, g.parents, g.dedup_key, g.dedup_ttl_ms
    from (select gone.*, q.keep as q_keep,
            -- The two usual ones by themselves: the call costs as much as the rest of the row.
            case when gone.final = 'completed' and gone.options -> 'keep' is null and q.keep is null then ((now() + interval '1 day') at time zone 'UTC')::date
                 when gone.final = 'completed' and gone.options -> 'keep' -> 'completed' = 'false' then null
                 else {schema}.drop_on(gone.final, gone.options -> 'keep', q.keep) end as day
          from gone left join {schema}.queues q on q.name = gone.queue) g
    where g.day is not null
  )
  select array_agg(id), jsonb_object_agg(id, last_error) filter (where overruled), array_agg(id) filter (where watched), coalesce(bool_or(keyed), false),
    coalesce(bool_or(keyed and dedup_key is null), false), coalesce(bool_or(pending_parents > 0), false),
    array_agg(id) filter (where has_children), array_agg(final::text) filter (where has_children),
    array_agg(case when final = 'completed' then result end) filter (where has_children),
    jsonb_agg(jsonb_build_object('id', id, 'next', {schema}.uuid_v7(), 'queue', queue, 'task', task, 'priority', priority, 'args', args, 'headers', headers,
        'options', options, 'customId', custom_id, 'concurrencyKey', concurrency_key, 'rateKey', rate_key,
        'key', case when dedup_ttl_ms is null then dedup_key end))
      filter (where final = 'completed' and options ? 'repeat' and {schema}.amount(options -> 'repeat' -> 'everyMs', 0) is not null)
  into settled, cancelled, watched, any_keyed, any_unsaid, any_blocked, parents, parent_states, parent_results, repeats
  from gone;

  if any_keyed then
    -- The keys of a chain go to its next run.
    update {schema}.keys k set job_id = r.next from jsonb_to_recordset(repeats) r (id uuid, next uuid) where k.job_id = any (array[r.id]) and k.release <> 'time';
    -- A custom id outlives its job until the row is removed: by hand, or with its day.
    if any_unsaid then
      -- A job that 0.1.0 stored does not say its key itself: a retry must find it there.
      with released as (
        delete from {schema}.keys k where k.job_id = any (settled) and k.release = 'finish' returning k.job_id, k.key
      )
      update {schema}.finished_jobs f set dedup_key = r.key from released r where f.id = any (array[r.job_id]);
    else
      delete from {schema}.keys k where k.job_id = any (settled) and k.release = 'finish';
    end if;
    update {schema}.keys k set until = case when f.id is null then now() else coalesce(f.keep_until, (f.drop_on + 1)::timestamp at time zone 'UTC') end
    from unnest(settled) e (id) left join {schema}.finished_jobs f on f.id = any (array[e.id])
    where k.job_id = any (array[e.id]) and (k.kind = 'id') is true;
  end if;
  if any_blocked then
    -- Its open edges stand in its options: a retry must wait for the same parents.
    with edges as (
      delete from {schema}.job_dependencies d where d.child_id = any (settled) returning d.*
    ), families as (
      select e.child_id, jsonb_agg(jsonb_build_object('id', e.parent_id, 'onFailure', e.on_failure, 'paths', e.paths)) as edges from edges e group by 1
    )
    update {schema}.finished_jobs f set options = coalesce(f.options, '{}') || jsonb_build_object('edges', x.edges)
    from families x where f.id = any (array[x.child_id]);
  end if;

  if goes_on then
    with s as (
      select * from unnest(ids, leases, outcomes, delays, errors, progress) s (id, lease, outcome, delay, error, last_progress) order by id
    ), returned as (
      update {schema}.jobs j set
        state = (case when s.delay > 0 then 'delayed' else 'waiting' end)::{schema}.job_state,
        run_at = case when s.delay > 0 then now() + s.delay * interval '1 millisecond' end,
        seq = case when s.outcome = 'released' then j.seq else nextval('{schema}.job_seq') end,
        attempt = case when s.outcome = 'retry' then j.attempt else j.attempt - 1 end,
        attempts = case when s.outcome = 'retry' then coalesce(j.attempts, '[]') || {schema}.attempt(j.attempt, j.started_at, j.worker_id, s.error) else j.attempts end,
        error = case when s.outcome = 'retry' then s.error else j.error end,
        progress = case when s.outcome = 'retry' then null else coalesce(s.last_progress, j.progress) end,
        lease = null, worker_id = null, started_at = null
      from s
      where j.id = any (array[s.id]) and j.lease = s.lease and j.worker_id = worker and s.outcome in ('retry', 'snoozed', 'released') and not j.cancel_requested
      returning j.id, j.queue, {schema}.lane(j.priority, j.limit_group) as priority, j.seq, j.state, j.run_at
    ), by_lane as (
      select queue, priority, min(seq) as seq from returned where state = 'waiting' group by queue, priority
    )
    select array_agg(id) as ids, extract(epoch from min(run_at) - now())::double precision * 1000 as due_ms,
      (select jsonb_agg(jsonb_build_array(queue, priority, seq)) from by_lane) as lanes
    into back from returned;
    settled := coalesce(settled, '{}') || coalesce(back.ids, '{}');
    lanes := back.lanes;
    due_ms := back.due_ms;
  end if;

  if repeats is not null then
    select r.lanes, r.due_ms into freed from {schema}.add_repeats(repeats) r;
    lanes := nullif(coalesce(lanes, '[]') || coalesce(freed.lanes, '[]'), '[]');
    due_ms := least(due_ms, freed.due_ms);
  end if;

  if parents is not null then
    select r.lanes, r.due_ms, r.watched, r.ended into resolved from {schema}.resolve_children(parents, parent_states, parent_results) r;
    lanes := nullif(coalesce(lanes, '[]') || coalesce(resolved.lanes, '[]'), '[]');
    due_ms := least(due_ms, resolved.due_ms);
    watched := coalesce(watched, '{}') || coalesce(resolved.watched, '{}');
    ended := resolved.ended;
  end if;
end
$$
