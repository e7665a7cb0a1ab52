-- Milliseconds until something falls due (negative: it is late), null when nothing is timed: a delayed job, a ttl, a schedule.
-- Each min() reads the first entry of its partial index.
select extract(epoch from least(
  (select min(run_at) from {schema}.jobs where state = 'delayed'),
  (select min(expires_at) from {schema}.jobs where state <> 'active' and expires_at is not null),
  (select min(next_run_at) from {schema}.schedules where not paused and next_run_at is not null)
) - now())::double precision * 1000 as due_ms
