-- Milliseconds until something falls due (0 or less: it is late), null when there is none: a delayed job, a ttl, a schedule. Reads only.
-- Each reads the first entry of its partial index; min() read all of it with statistics that say pages and no row. A function for the sake of its settings: see sweep.
create or replace function {schema}.next_due(out delayed double precision, out expiry double precision, out schedule double precision)
language plpgsql stable
set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
begin
  delayed := extract(epoch from (select j.run_at from {schema}.jobs j where j.state = 'delayed' order by j.run_at limit 1) - now()) * 1000;
  expiry := extract(epoch from (select j.expires_at from {schema}.jobs j where j.state <> 'active' and j.expires_at is not null order by j.expires_at limit 1) - now()) * 1000;
  schedule := extract(epoch from (select min(s.next_run_at) from {schema}.schedules s where not s.paused and s.next_run_at is not null) - now()) * 1000;
end
$$
