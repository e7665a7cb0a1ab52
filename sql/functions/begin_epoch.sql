-- The first claim after a start or a crash of the server, or on a standby that took over. The last claims before it need not have become durable
-- (sql/functions/claim.sql), nor the last numbers of lease_seq; two runs of a job must never have the same lease, nor a later one a lower. So the
-- sequence goes ahead by more than can have been lost, before anybody claims: whoever comes meanwhile waits for the row, and reads the sequence then.
-- The commit waits for the disk whatever the session's default is: were the row seen and the sequence's move lost, the next crash could give numbers
-- again. Crash before the commit: the row is gone too, and the next claim begins again. Twice or two at once: one changes the row, the other goes on.
-- With the owner's rights: workers need none on the sequence but to use it.
create or replace function {schema}.begin_epoch() returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if current_setting('synchronous_commit') = 'off' then
    perform set_config('synchronous_commit', 'local', true);
  end if;
  insert into {schema}.epoch as e default values
  on conflict (one) do update set server_started_at = excluded.server_started_at where e.server_started_at <> excluded.server_started_at;
  if found then
    perform setval('{schema}.lease_seq', s.last_value + 1073741824) from {schema}.lease_seq s;
  end if;
end
$$
