-- Stores one job that needs nothing but an insert, and wakes the workers while the job is on its way to the disk: what insert_job and notify do in two calls,
-- one after the other. Three transactions: the job, which does not wait for the disk; the NOTIFY, which has one of its own for the reasons in
-- sql/notify.sql; and one that does nothing but wait for all that was written before it (flush_log). So the caller hears that the job is stored when it is
-- durable, and a worker may start it a write to the disk sooner. What comes of the run is durable no sooner than the job: it comes later in the log.
-- self: this client's mark, and, after a space, the worker in its process that takes the job, if there is one.
-- `told` is false where the NOTIFY was left out: the queue of notifications is half full.
-- Only by itself, never inside a transaction: it commits.
-- Twice: a violated primary key. Connection dies after the first commit, or a later one fails: the job is stored, if the server does not crash, and perhaps
-- nobody woken, so polling finds it; the client repeats with add_jobs, which looks for the id, and waits for the disk as well. The server crashes before the
-- last commit: the caller never heard that the job is stored, and repeats; it may have begun to run, as any job may run again after a crash. Two at once:
-- nothing in common but the notify lock, for a moment.
create or replace procedure {schema}.add_job(in_id uuid, in_queue text, in_task text, in_priority smallint, in_max_attempts integer, in_args jsonb, in_headers jsonb,
  in_options jsonb, channel text, self text, inout seq bigint default null, inout subscribed boolean default null, inout told boolean default null)
language plpgsql
as $$
begin
  perform set_config('synchronous_commit', 'off', true);
  insert into {schema}.jobs (id, queue, task, priority, max_attempts, args, headers, options)
  values (in_id, in_queue, in_task, in_priority, in_max_attempts, in_args, in_headers, in_options)
  returning jobs.seq, exists (select from {schema}.subscribers s where s.expires_at > now()) into seq, subscribed;
  commit;
  told := pg_notification_queue_usage() <= 0.5;
  if told then
    perform set_config('synchronous_commit', 'off', true);
    perform {schema}.wake_lane(channel, in_queue, in_priority, seq, '@' || split_part(self, ' ', 1), nullif(split_part(self, ' ', 2), '')::uuid);
    commit;
  end if;
  perform {schema}.flush_log();
end
$$
