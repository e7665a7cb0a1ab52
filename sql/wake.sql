-- Notifies workers of lanes $2 and of what falls due in $3 ms (see wake in sql/functions; $4 is the sender's mark), and sends the messages $5 on the channel $1.
-- A lost message costs a poll, so the commit need not wait for the disk; that also keeps the notify lock short. Once full, Postgres's queue of notifications
-- stays full, also when the listener that held it up has gone, until somebody asks how full it is; so this asks, and adds nothing to one that is half full.
-- Twice, or after a lost answer: one hint more.
select set_config('synchronous_commit', 'off', true), {schema}.wake($1::text, $2::text::jsonb, $3::double precision, $4::text),
  (select count(pg_notify($1::text, m)) from unnest($5::text[]) m where (select pg_notification_queue_usage()) <= 0.5)
