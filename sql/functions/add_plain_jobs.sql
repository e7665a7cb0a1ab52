-- Stores jobs that need nothing but an insert, in the transaction of any client (one text parameter fits them all), and wakes the workers in it:
-- what add_jobs does for drafts without keys, parents and published defaults, at a sixth of its cost.
-- drafts, channel: as for add_jobs. A generic plan: planning took longer than the insert. One job by itself goes a shorter way.
-- Twice: a violated primary key, so nothing; the caller's transaction decides whether it was stored.
create or replace function {schema}.add_plain_jobs(drafts jsonb, channel text) returns void
language plpgsql volatile
set plan_cache_mode = force_generic_plan set jit = off set search_path = pg_catalog, pg_temp set extra_float_digits = 1
as $$
declare
  lanes jsonb;
  due double precision;
  draft constant jsonb := drafts -> 0;
  of_queue text;
  of_priority smallint;
  number bigint;
begin
  if jsonb_array_length(drafts) = 1 and not draft ?| array['delayMs', 'runAt', 'ttlMs', 'concurrencyKey', 'rateKey'] then
    -- One that is due at once and has no limits.
    insert into {schema}.jobs (id, max_attempts, priority, queue, task, args, headers, options)
    values ((draft ->> 'id')::uuid, coalesce((draft ->> 'maxAttempts')::integer, 1), coalesce((draft ->> 'priority')::smallint, 5), coalesce(draft ->> 'queue', 'default'),
      draft ->> 'task', draft -> 'args', nullif(draft -> 'headers', 'null'), nullif(draft -> 'options', 'null'))
    returning queue, priority, seq into of_queue, of_priority, number;
    if channel is not null and pg_notification_queue_usage() <= 0.5 then
      perform {schema}.wake_lane(channel, of_queue, of_priority, number);
    end if;
    return;
  end if;
  with added as (
    insert into {schema}.jobs (id, run_at, expires_at, max_attempts, state, priority, queue, task, args, headers, options, concurrency_key, rate_key, limit_group)
    select i.id, case when i.at > now() then i.at end, now() + i."ttlMs" * interval '1 millisecond', coalesce(i."maxAttempts", 1),
      (case when i.at > now() then 'delayed' else 'waiting' end)::{schema}.job_state, coalesce(i.priority, 5), coalesce(i.queue, 'default'), i.task, i.args,
      nullif(i.headers, 'null'), nullif(i.options, 'null'), i."concurrencyKey", i."rateKey", {schema}.limit_group(i.task, i."concurrencyKey", i."rateKey")
    from (select r.*, e.ord, greatest(r."runAt", now() + r."delayMs" * interval '1 millisecond') as at
          from jsonb_array_elements(drafts) with ordinality e (draft, ord)
          cross join lateral jsonb_to_record(e.draft) r (id uuid, queue text, task text, priority smallint, "maxAttempts" integer, args jsonb, "delayMs" double precision,
            "runAt" timestamptz, "ttlMs" double precision, headers jsonb, options jsonb, "concurrencyKey" text, "rateKey" text)) i
    order by i.ord
    returning queue, {schema}.lane(priority, limit_group) as priority, seq, run_at
  ), by_lane as (
    select queue, priority, min(seq) as seq from added where run_at is null group by queue, priority
  )
  select (select jsonb_agg(jsonb_build_array(queue, priority, seq)) from by_lane), (select extract(epoch from min(run_at) - now())::double precision * 1000 from added)
  into lanes, due;
  perform {schema}.wake(channel, lanes, due);
end
$$
