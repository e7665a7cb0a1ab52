-- Publishes tasks for producers without their code: $1 names, $2 queues, $3 priorities, $4 retries, $5 ttls in ms, $6 options. In the order of the
-- names, so that two workers that start at once cannot deadlock; what is unchanged is not written.
insert into {schema}.tasks as t (name, queue, priority, retries, ttl_ms, options)
select * from unnest($1::text[], $2::text[], $3::smallint[], $4::integer[], $5::double precision[], $6::jsonb[]) n (name, queue, priority, retries, ttl_ms, options)
order by name
on conflict (name) do update
set queue = excluded.queue, priority = excluded.priority, retries = excluded.retries, ttl_ms = excluded.ttl_ms, options = excluded.options, published_at = now()
where (t.queue, t.priority, t.retries, t.ttl_ms, t.options) is distinct from (excluded.queue, excluded.priority, excluded.retries, excluded.ttl_ms, excluded.options)
