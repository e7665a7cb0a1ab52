-- Gives waiting and delayed jobs another due time: $1 ids, $2 milliseconds from now, or $3 an instant. Due already: waiting at once.
-- `(select $n)`: whatever the length of a list, one plan, whose cost does not grow with it (docs/architecture.md, "Planner traps").
with moved as (
  update {schema}.jobs j
  set run_at = n.at, state = (case when n.at > now() then 'delayed' else 'waiting' end)::{schema}.job_state, seq = nextval('{schema}.job_seq')
  from (select coalesce($3::timestamptz, now() + $2::double precision * interval '1 millisecond') as at) n
  where j.id = any ((select $1::uuid[])::uuid[]) and j.state in ('waiting', 'delayed')
  returning j.id, j.queue, {schema}.lane(j.priority, j.limit_group) as priority, j.seq, j.state, j.run_at
)
select id, queue, priority, seq, state, extract(epoch from run_at - now())::double precision * 1000 as due_ms from moved
