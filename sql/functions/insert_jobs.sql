-- Stores jobs that need nothing but an insert, and says which lanes gained work, [[queue, priority, a seq that is none of theirs nor above one]], and the time
-- until the first delayed one.
-- One element an argument and job; of queues, tasks, priorities and max_attempts a single one stands for all jobs. Null where no job has one: delays in ms,
-- instants, ttls in ms, headers, options, keys of concurrency limits, keys of rate limits. After a lost answer add_jobs repeats it, which leaves alone what is
-- already there. unnest with ordinality keeps the order of the calls; seq follows it.
-- A generic plan, made once: there is but one way to do it.
create or replace function {schema}.insert_jobs(ids uuid[], queues text[], tasks text[], priorities smallint[], max_attempts integer[], args jsonb[],
  delays double precision[], instants timestamptz[], ttls double precision[], headers jsonb[], options jsonb[], concurrency_keys text[], rate_keys text[],
  out lanes jsonb, out due_ms double precision, out subscribed boolean)
language plpgsql volatile
set plan_cache_mode = force_generic_plan set jit = off
as $$
begin
  subscribed := exists (select from {schema}.subscribers s where s.expires_at > now());
  if cardinality(queues) = 1 and cardinality(priorities) = 1 and delays is null and instants is null and ttls is null and concurrency_keys is null and rate_keys is null then
    -- One lane, and nothing to be computed. The number before theirs; no row needs to be returned for it.
    lanes := jsonb_build_array(jsonb_build_array(queues[1], priorities[1], nextval('{schema}.job_seq')));
    insert into {schema}.jobs (id, max_attempts, priority, queue, task, args, headers, options)
    select u.id, coalesce(u.attempts, insert_jobs.max_attempts[1]), priorities[1], queues[1], coalesce(u.task, tasks[1]), u.args, u.headers, u.options
    from unnest(ids, tasks, insert_jobs.max_attempts, insert_jobs.args, insert_jobs.headers, insert_jobs.options) with ordinality
      u (id, task, attempts, args, headers, options, ord)
    order by u.ord;
    return;
  end if;
  with added as (
    insert into {schema}.jobs (id, run_at, expires_at, max_attempts, state, priority, queue, task, args, headers, options, concurrency_key, rate_key, limit_group)
    select i.id, case when i.at > now() then i.at end, now() + i.ttl * interval '1 millisecond', i.attempts,
      (case when i.at > now() then 'delayed' else 'waiting' end)::{schema}.job_state, i.priority, i.queue, i.task, i.args, i.headers, i.options,
      i.concurrency_key, i.rate_key, {schema}.limit_group(i.task, i.concurrency_key, i.rate_key)
    from (select u.id, coalesce(u.queue, queues[1]) as queue, coalesce(u.task, tasks[1]) as task, coalesce(u.priority, priorities[1]) as priority,
            coalesce(u.attempts, insert_jobs.max_attempts[1]) as attempts, u.args, u.ttl, u.headers, u.options, u.concurrency_key, u.rate_key, u.ord,
            greatest(u.instant, now() + u.delay * interval '1 millisecond') as at
          from unnest(ids, queues, tasks, priorities, insert_jobs.max_attempts, insert_jobs.args, delays, instants, ttls, insert_jobs.headers, insert_jobs.options,
              concurrency_keys, rate_keys) with ordinality
            u (id, queue, task, priority, attempts, args, delay, instant, ttl, headers, options, concurrency_key, rate_key, ord)) i
    order by i.ord
    returning queue, {schema}.lane(priority, limit_group) as priority, seq, run_at
  ), by_lane as (
    select a.queue, a.priority, min(a.seq) as seq from added a where a.run_at is null group by a.queue, a.priority
  )
  select (select jsonb_agg(jsonb_build_array(l.queue, l.priority, l.seq)) from by_lane l),
    (select extract(epoch from min(a.run_at) - now())::double precision * 1000 from added a)
  into lanes, due_ms;
end
$$
