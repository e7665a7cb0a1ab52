-- Makes the delayed jobs $1 due now. A blocked job stays blocked.
-- `(select $n)`: whatever the length of a list, one plan, whose cost does not grow with it (docs/architecture.md, "Planner traps").
update {schema}.jobs j set state = 'waiting', run_at = now(), seq = nextval('{schema}.job_seq')
where j.id = any ((select $1::uuid[])::uuid[]) and j.state::text = 'delayed'
returning j.id, j.queue, {schema}.lane(j.priority, j.limit_group) as priority, j.seq
