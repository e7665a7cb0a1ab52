-- The next run of jobs with repeatEvery that have just completed, in the transaction of their completion: the chain neither breaks nor forks.
-- repeats: [{id, queue, task, priority, args, headers, options}]; options.repeat = {everyMs, maxAttempts, ttlMs} made when the first was enqueued.
create or replace function {schema}.add_repeats(repeats jsonb, out lanes jsonb, out due_ms double precision)
language plpgsql volatile
as $$
begin
  insert into {schema}.jobs (id, run_at, expires_at, max_attempts, state, priority, queue, task, args, headers, options)
  select {schema}.uuid_v7(), now() + {schema}.amount(r.options -> 'repeat' -> 'everyMs', 3155760000000) * interval '1 millisecond',
    now() + {schema}.amount(r.options -> 'repeat' -> 'ttlMs', 3155760000000) * interval '1 millisecond',
    coalesce(greatest({schema}.amount(r.options -> 'repeat' -> 'maxAttempts', 32768), 1)::integer, 1), 'delayed', r.priority, r.queue, r.task, r.args, r.headers, r.options
  from jsonb_to_recordset(repeats) r (queue text, task text, priority smallint, args jsonb, headers jsonb, options jsonb)
  where {schema}.amount(r.options -> 'repeat' -> 'everyMs', 0) is not null;
  select min({schema}.amount(r -> 'options' -> 'repeat' -> 'everyMs', 3155760000000)) into due_ms from jsonb_array_elements(repeats) r;
end
$$
