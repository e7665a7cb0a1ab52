-- Sends the messages $2 on the channel $1. A lost message costs a poll, so the commit need not wait for the disk; that also keeps the notify lock
-- short. Once full, Postgres's queue of notifications stays full, also when the listener that held it up has gone, until somebody asks how full it is;
-- so this asks, and adds nothing to one that is half full. Twice, or after a lost answer: one hint more.
select set_config('synchronous_commit', 'off', true), count(pg_notify($1, m)) from unnest($2::text[]) m where (select pg_notification_queue_usage()) <= 0.5
