-- Jobs a queue and state, of queue $1 or (null) of all. Counts rows: for administration, not for hot paths.
select queue, state, count(*)::integer as jobs, min(created_at) filter (where state = 'waiting') as oldest from {schema}.jobs where $1::text is null or queue = $1 group by 1, 2
union all
select queue, state, count(*)::integer, null from {schema}.finished_jobs where $1::text is null or queue = $1 group by 1, 2
