-- Milliseconds until something falls due (0 or less: it is late), null when there is none: a delayed job, a ttl, a schedule.
-- Each min() reads the first entry of its partial index.
select extract(epoch from (select min(run_at) from {schema}.jobs where state = 'delayed') - now())::double precision * 1000 as delayed,
  extract(epoch from (select min(expires_at) from {schema}.jobs where state <> 'active' and expires_at is not null) - now())::double precision * 1000 as expiry,
  extract(epoch from (select min(next_run_at) from {schema}.schedules where not paused and next_run_at is not null) - now())::double precision * 1000 as schedule,
  exists (select from {schema}.subscribers where expires_at > now()) as subscribed
