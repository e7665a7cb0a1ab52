-- Delayed jobs whose time has come, at most $1, become waiting. Returns the lanes. Uses jobs_due. Several workers at once share the rows.
with due as materialized (
  select id from {schema}.jobs where state = 'delayed' and run_at <= now() order by run_at limit $1 for update skip locked
), moved as (
  update {schema}.jobs j set state = 'waiting', seq = nextval('{schema}.job_seq') where j.id = any (array(select id from due)) returning j.queue, {schema}.lane(j.priority, j.limit_group) as priority, j.seq
)
select queue, priority, min(seq) as seq, count(*)::integer as jobs from moved group by queue, priority
