-- Gives back what worker $1 holds without knowing it: active jobs that began more than $2 ms ago under none of the leases $3. They keep their place,
-- and the attempt is given back (no handler was called).
-- Uses jobs_leased. Twice: the second finds nothing.
select s.settled, s.lanes
from (
  select array_agg(j.id order by j.id) as ids, array_agg(j.lease order by j.id) as leases
  from {schema}.jobs j
  where j.state = 'active' and j.worker_id = $1 and j.started_at < now() - $2::double precision * interval '1 millisecond' and j.lease <> all ($3::bigint[])
) x
cross join lateral {schema}.settle($1, x.ids, x.leases, array_fill('released'::text, array[coalesce(cardinality(x.ids), 0)]), null, null, null, null) s
where x.ids is not null
