-- The day on which a finished job may go, and so the partition that it belongs to; null: it is not kept at all.
-- What must be kept beyond the daily partitions goes to the long partition ("infinity"), from where prune deletes it by keep_until.
-- keep: the job's own retention (milliseconds or false), else the queue's; stock: completed 1 day, the rest 14 days.
create or replace function {schema}.drop_on(final {schema}.job_state, own jsonb, of_queue jsonb) returns date
language sql stable
as $$
  select case
    when kept = 'false'::jsonb then null
    when kept_ms > 15 * 86400000::double precision then 'infinity'::date
    else ((now() + kept_ms * interval '1 millisecond') at time zone 'UTC')::date
  end
  from (select kept, coalesce({schema}.amount(kept, 3155760000000), case final when 'completed' then 86400000 else 14 * 86400000::double precision end) as kept_ms
        from (select coalesce(own -> class, of_queue -> class, stock) as kept
              from (select case final when 'completed' then 'completed' else 'failed' end as class,
                           to_jsonb(case final when 'completed' then 86400000 else 14 * 86400000::bigint end) as stock) c) k) m
$$
