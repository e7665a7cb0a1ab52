-- The next run of jobs with repeatEvery that have just completed, in the transaction of their completion: the chain neither breaks nor forks.
-- repeats: [{next, queue, task, priority, args, headers, options, customId, concurrencyKey, rateKey, key}]; options.repeat = {everyMs, maxAttempts, ttlMs} made when the first was
-- enqueued. Its ttl counts from when it is due: one that is shorter than the interval would end the chain. Its keys are the next run's already;
-- but not one that is held for a time, which stays with the run that took it.
create or replace function {schema}.add_repeats(repeats jsonb, out lanes jsonb, out due_ms double precision)
language plpgsql volatile
set jit = off set enable_seqscan = off set enable_bitmapscan = off
as $$
begin
  insert into {schema}.jobs (id, run_at, expires_at, max_attempts, state, priority, keyed, queue, task, args, headers, options, custom_id, concurrency_key, rate_key, limit_group, dedup_key)
  select r.next, now() + r.every * interval '1 millisecond',
    now() + (r.every + {schema}.amount(r.options -> 'repeat' -> 'ttlMs', 3155760000000)) * interval '1 millisecond',
    coalesce(greatest({schema}.amount(r.options -> 'repeat' -> 'maxAttempts', 32768), 1)::integer, 1), 'delayed', r.priority,
    exists (select from {schema}.keys k where k.job_id = r.next offset 0), r.queue, r.task, r.args, r.headers, r.options - 'budget' - 'ttl', r."customId", r."concurrencyKey", r."rateKey",
    {schema}.limit_group(r.task, r."concurrencyKey", r."rateKey"), r.key
  from (select x.*, {schema}.amount(x.options -> 'repeat' -> 'everyMs', 3155760000000) as every
        from jsonb_to_recordset(repeats) x (next uuid, queue text, task text, priority smallint, args jsonb, headers jsonb, options jsonb, "customId" text,
          "concurrencyKey" text, "rateKey" text, key text)) r;
  select min({schema}.amount(r -> 'options' -> 'repeat' -> 'everyMs', 3155760000000)) into due_ms from jsonb_array_elements(repeats) r;
end
$$
