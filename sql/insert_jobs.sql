-- Stores jobs that need nothing but an insert, one or ten thousand, and returns the lanes that gained work and the time until the first delayed one.
-- $1 ids, $2 queues, $3 tasks, $4 priorities, $5 max_attempts (of these four a single one stands for all jobs), $6 args; then, null where no job has one: $7 delays in ms, $8 instants, $9 ttls in ms,
-- $10 headers, $11 options, $12 keys of concurrency limits, $13 of rate limits. After a lost answer add_jobs repeats it, which leaves alone what is
-- already there.
-- unnest with ordinality keeps the order of the calls; seq follows it.
with added as (
  insert into {schema}.jobs (id, run_at, expires_at, max_attempts, state, priority, queue, task, args, headers, options, concurrency_key, rate_key, limit_group)
  select i.id, case when i.at > now() then i.at end, now() + i.ttl * interval '1 millisecond', i.max_attempts,
    (case when i.at > now() then 'delayed' else 'waiting' end)::{schema}.job_state, i.priority, i.queue, i.task, i.args, i.headers, i.options,
    i.concurrency_key, i.rate_key, {schema}.limit_group(i.task, i.concurrency_key, i.rate_key)
  from (select u.id, coalesce(u.queue, ($2::text[])[1]) as queue, coalesce(u.task, ($3::text[])[1]) as task,
          coalesce(u.priority, ($4::smallint[])[1]) as priority, coalesce(u.max_attempts, ($5::integer[])[1]) as max_attempts,
          u.args, u.ttl, u.headers, u.options, u.concurrency_key, u.rate_key, u.ord, greatest(u.instant, now() + u.delay * interval '1 millisecond') as at
        from unnest($1::uuid[], $2::text[], $3::text[], $4::smallint[], $5::integer[], $6::jsonb[], $7::double precision[], $8::timestamptz[],
          $9::double precision[], $10::jsonb[], $11::jsonb[], $12::text[], $13::text[]) with ordinality
          u (id, queue, task, priority, max_attempts, args, delay, instant, ttl, headers, options, concurrency_key, rate_key, ord)) i
  order by i.ord
  returning queue, {schema}.lane(priority, limit_group) as priority, seq, run_at
)
select queue, priority, min(seq) filter (where run_at is null) as seq, extract(epoch from min(run_at) - now())::double precision * 1000 as due_ms,
  exists (select from {schema}.subscribers where expires_at > now()) as subscribed
from added group by queue, priority
