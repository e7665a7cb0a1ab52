-- Makes the daily partitions of finished_jobs from today to 17 days ahead, and drops those of past days. Returns the names dropped.
-- Run by every worker at its start and each hour; twice at once does no harm: an advisory lock lets one of them work, the others return.
-- A new day is attached (which readers and writers of the other days do not notice); a past day is dropped under a short lock_timeout, since a
-- long reader would otherwise queue every settle behind us: what cannot be dropped now goes with the next run. One whose drop is refused stays, with a
-- warning.
-- Each has a replica identity, since where it is published no row of it could be changed otherwise (see migrations/0003_servers.ts).
-- Rows' custom ids in a dropped day are released by prune (keys.until).
create or replace function {schema}.partitions() returns text[]
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
  home constant text := '{schema}';
  today date := (now() at time zone 'UTC')::date;
  day date;
  part text;
  dropped text[] := '{}';
begin
  if not pg_try_advisory_xact_lock(hashtextextended('{schema}.partitions', 7021)) then
    return dropped;
  end if;
  for day in select today + n from generate_series(0, 17) n loop
    part := 'finished_jobs_' || to_char(day, 'YYYYMMDD');
    if to_regclass('{schema}.' || part) is null then
      execute format('create table %1$s.%2$I (like %1$s.finished_jobs including defaults including constraints)', home, part);
      execute format('alter table %1$s.%2$I replica identity full', home, part);
      execute format('alter table %1$s.finished_jobs attach partition %1$s.%2$I for values from (%3$L) to (%4$L)', home, part, day, day + 1);
    end if;
  end loop;
  for part in
    select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = '{schema}.finished_jobs'::regclass and c.relname ~ '^finished_jobs_[0-9]{8}$' and to_date(right(c.relname, 8), 'YYYYMMDD') < today
  loop
    begin
      set local lock_timeout = '250ms';
      execute format('drop table %s.%I', home, part);
      dropped := dropped || part;
    exception
      when lock_not_available then
        null;
      -- An event trigger of the application's may forbid it. That must not undo the days to come.
      when others then
        raise warning 'pgtusk: the past day %.% cannot be dropped: %', home, part, sqlerrm;
    end;
  end loop;
  return dropped;
end
$$
