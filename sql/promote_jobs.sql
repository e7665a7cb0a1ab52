-- Makes the delayed jobs $1 due now. A blocked job stays blocked.
update {schema}.jobs j set state = 'waiting', run_at = now(), seq = nextval('{schema}.job_seq')
where j.id = any ($1::uuid[]) and j.state = 'delayed'
returning j.id, j.queue, {schema}.lane(j.priority, j.limit_group) as priority, j.seq
