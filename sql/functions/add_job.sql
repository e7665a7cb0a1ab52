-- Stores one job that needs nothing but an insert, commits, and then wakes the workers: what insert_job and notify do in two calls, so that a wake-up does
-- not wait for the client to hear of the commit. The NOTIFY has a transaction of its own for the reasons in sql/notify.sql: inside the first it would hold
-- a database-wide lock while that one waits for the disk. `told` is false where it was left out: the queue of notifications is half full.
-- Only by itself, never inside a transaction: it commits.
-- Twice: a violated primary key. Connection dies after the first commit, or the second fails: the job is stored and nobody woken, so polling finds it; the
-- client repeats with add_jobs, which looks for the id. Two at once: nothing in common but the notify lock, for a moment.
create or replace procedure {schema}.add_job(in_id uuid, in_queue text, in_task text, in_priority smallint, in_max_attempts integer, in_args jsonb, in_headers jsonb,
  in_options jsonb, channel text, self text, inout seq bigint default null, inout subscribed boolean default null, inout told boolean default null)
language plpgsql
as $$
begin
  insert into {schema}.jobs (id, queue, task, priority, max_attempts, args, headers, options)
  values (in_id, in_queue, in_task, in_priority, in_max_attempts, in_args, in_headers, in_options)
  returning jobs.seq, exists (select from {schema}.subscribers s where s.expires_at > now()) into seq, subscribed;
  commit;
  told := pg_notification_queue_usage() <= 0.5;
  if told then
    perform set_config('synchronous_commit', 'off', true), pg_notify(channel, json_build_array('j', in_queue, in_priority, seq, '@' || self)::text);
  end if;
end
$$
