-- For insert_jobs what add_job is for one job: stores them, wakes the workers, and then waits for the disk.
create or replace procedure {schema}.add_batch(ids uuid[], queues text[], tasks text[], priorities smallint[], max_attempts integer[], args jsonb[],
  delays double precision[], instants timestamptz[], ttls double precision[], headers jsonb[], options jsonb[], concurrency_keys text[], rate_keys text[],
  channel text, self text,
  inout lanes jsonb default null, inout due_ms double precision default null, inout subscribed boolean default null, inout told boolean default null)
language plpgsql
as $$
begin
  perform set_config('synchronous_commit', 'off', true);
  select i.lanes, i.due_ms, i.subscribed into lanes, due_ms, subscribed
  from {schema}.insert_jobs(ids, queues, tasks, priorities, max_attempts, args, delays, instants, ttls, headers, options, concurrency_keys, rate_keys) i;
  commit;
  perform set_config('synchronous_commit', 'off', true);
  told := {schema}.wake(channel, lanes, due_ms, '@' || self);
  commit;
  perform {schema}.flush_log();
end
$$
