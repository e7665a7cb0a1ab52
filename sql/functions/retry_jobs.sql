-- Takes failed, expired and cancelled jobs back to waiting: attempts count on, max_attempts grows by a fresh budget, a ttl begins anew.
-- (Budget and ttl of the first time stand in options from then on: the row's own grow with each retry.)
-- Children that are still blocked by them wait on. One that ended while it was itself blocked waits for the same parents again: for one that has
-- not completed until that is retried and succeeds, whatever the edge said, since it has been asked to run; one that is gone is no matter, and
-- its result is undefined.
-- Keys: each job takes its custom id and its deduplication key again, a key with a ttl for that long from now. One whose key another job owns by now is left
-- as it is; of several with one key the one that finished first gets it. What was taken for a job that then was not there to be retried is given back.
-- A job of 0.1.0 that ended before the schema was migrated does not say its deduplication key, and comes back without.
-- Returns the ids, once more with queue and task (retried), the lanes, and what ended in consequence (see resolve_children). Twice: the second finds nothing finished.
-- Twice at once: the second waits for the first at the key, or at the finished row, and then finds nothing finished. A job that was not finished when its
-- keys were looked at is left alone, although it may have failed since. An enqueue with the same key at the same time: the primary key of keys decides.
-- Locks: keys in the order of the keys, as in add_jobs (owners' rows are read, not locked; its own are, before its finished row, as in remove_jobs), then
-- jobs (parents, to become parents again), then finished jobs, each in the order of their ids, as in add_jobs. A call that makes a child
-- of a finished job holds it for share; its edge is seen by the statements after the lock.
create or replace function {schema}.retry_jobs(targets uuid[], out ids uuid[], out lanes jsonb, out watched uuid[], out retried jsonb, out ended jsonb)
language plpgsql volatile
set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  blocked boolean;
  of_edges uuid[];  -- their parents; not `parents`, which is a column
  back record;
  lost record;
  resolved record;
  wanted record;
  owner uuid;
  over boolean;
  takers uuid[] := '{}';       -- those that have keys,
  losers uuid[] := '{}';       --   of them those of which another job owns one,
  taken_ids uuid[] := '{}';    --   and what was taken here
  taken_kinds text[] := '{}';
begin
  for wanted in
    select f.id, f.queue, k.kind, k.key, case k.kind when 'id' then 'removal' else case when k.ttl is null then 'finish' else 'time' end end as release, k.ttl
    from {schema}.finished_jobs f cross join lateral (
      select 'key' as kind, f.dedup_key as key, f.dedup_ttl_ms as ttl
      union all
      select 'id', f.custom_id, null
    ) k
    where f.id = any (targets) and f.state in ('failed', 'expired', 'cancelled') and k.key is not null
    order by f.queue, k.kind, k.key, f.finished_at, f.id
  loop
    takers := takers || wanted.id;
    continue when wanted.id = any (losers);
    loop
      insert into {schema}.keys as k (job_id, until, queue, kind, key, release)
      values (wanted.id, clock_timestamp() + wanted.ttl * interval '1 millisecond', wanted.queue, wanted.kind, wanted.key, wanted.release)
      on conflict (queue, kind, key) do nothing;
      if not found then
        select k.job_id, coalesce(k.until <= clock_timestamp(), false) into owner, over
        from {schema}.keys k where k.queue = wanted.queue and k.kind = wanted.kind and k.key = wanted.key;
        continue when not found;
        if owner = wanted.id then
          perform from {schema}.keys k where k.queue = wanted.queue and k.kind = wanted.kind and k.key = wanted.key and k.job_id = wanted.id for update;
          continue when not found;
          exit;
        elsif not over then
          losers := losers || wanted.id;
          exit;
        end if;
        update {schema}.keys k set job_id = wanted.id, until = clock_timestamp() + wanted.ttl * interval '1 millisecond', release = wanted.release
        where k.queue = wanted.queue and k.kind = wanted.kind and k.key = wanted.key and k.until <= clock_timestamp();
        continue when not found;
      end if;
      taken_ids := taken_ids || wanted.id;
      taken_kinds := taken_kinds || wanted.kind::text;
      exit;
    end loop;
  end loop;

  -- By id alone, and as an array: so that each is a lookup by key.
  select array_agg(distinct (e ->> 'id')::uuid) into of_edges
  from {schema}.finished_jobs f, jsonb_array_elements(f.options -> 'edges') e where f.id = any (targets) and f.options ? 'edges';
  blocked := of_edges is not null;
  if blocked then
    perform from {schema}.jobs j where j.id = any (of_edges) order by j.id for no key update;
  end if;
  perform from {schema}.finished_jobs f where f.id = any (targets || coalesce(of_edges, '{}')) order by f.id for update;

  with gone as (
    delete from {schema}.finished_jobs
    where id = any (targets) and state in ('failed', 'expired', 'cancelled') and id <> all (losers)
      and (id = any (takers) or custom_id is null and dedup_key is null)
    returning *
  ), returned as (
    insert into {schema}.jobs (id, created_at, expires_at, scheduled_for, attempt, max_attempts, crashes, state, priority, has_children, keyed, queue, task, args,
      headers, options, attempts, error, custom_id, concurrency_key, rate_key, limit_group, parents, dedup_key, dedup_ttl_ms)
    select g.id, g.created_at, now() + g.ttl * interval '1 millisecond', g.scheduled_for, g.attempt, g.attempt + g.budget, 0, 'waiting', g.priority,
      exists (select from {schema}.job_dependencies d where d.parent_id = g.id offset 0), exists (select from {schema}.keys k where k.job_id = g.id offset 0),
      g.queue, g.task, g.args, g.headers,
      coalesce(g.options, '{}') || jsonb_strip_nulls(jsonb_build_object('budget', g.budget, 'ttl', g.ttl)),
      g.attempts, g.error, g.custom_id, g.concurrency_key, g.rate_key, {schema}.limit_group(g.task, g.concurrency_key, g.rate_key), g.parents, g.dedup_key, g.dedup_ttl_ms
    from (select gone.*, coalesce({schema}.amount(options -> 'budget', 32768)::integer, greatest(max_attempts - crashes, 1)) as budget,
            coalesce({schema}.amount(options -> 'ttl', 3155760000000), {schema}.amount(options -> 'repeat' -> 'ttlMs', 3155760000000),
              extract(epoch from expires_at - created_at)::double precision * 1000) as ttl
          from gone) g
    order by g.finished_at
    on conflict do nothing
    returning id, queue, task
  )
  select array_agg(id) as ids, jsonb_agg(jsonb_build_object('id', id, 'queue', queue, 'task', task)) as told into back from returned;
  ids := back.ids;
  retried := back.told;
  delete from {schema}.keys k using unnest(taken_ids, taken_kinds) t (id, kind)
  where k.job_id = any (array[t.id]) and (k.kind = t.kind) is true and t.id <> all (coalesce(back.ids, '{}'));
  if ids is null then
    return;
  end if;
  update {schema}.keys k set until = case k.kind when 'key' then clock_timestamp() + j.dedup_ttl_ms * interval '1 millisecond' end
  from {schema}.jobs j
  where j.id = any (ids) and k.job_id = any (array[j.id]) and (k.kind = 'id' or k.release = 'time' and j.dedup_ttl_ms is not null);

  if blocked then
    for lost in
      select j.id, array(select jsonb_array_elements_text(p.path)) as path
      from {schema}.jobs j, jsonb_array_elements(j.options -> 'edges') e, jsonb_array_elements(nullif(e -> 'paths', 'null')) p (path)
      where j.id = any (ids) and j.options ? 'edges' and not exists (select from {schema}.jobs x where x.id = (e ->> 'id')::uuid offset 0)
        and not exists (select from {schema}.finished_jobs f where f.id = (e ->> 'id')::uuid offset 0)
    loop
      update {schema}.jobs j set args = jsonb_set(j.args, lost.path, '{"$undefined": true}') where j.id = lost.id;
    end loop;
    with edges as (
      select j.id as child_id, (e ->> 'id')::uuid as parent_id, e ->> 'onFailure' as on_failure, nullif(e -> 'paths', 'null') as paths
      from {schema}.jobs j, jsonb_array_elements(j.options -> 'edges') e where j.id = any (ids) and j.options ? 'edges'
    )
    insert into {schema}.job_dependencies (parent_id, child_id, on_failure, paths)
    select e.parent_id, e.child_id, case when f.id is not null and e.on_failure in ('fail', 'cancel') then 'block' else e.on_failure end, e.paths
    from edges e left join lateral (select x.id from {schema}.finished_jobs x where x.id = e.parent_id limit 1) f on true
    where f.id is not null or exists (select from {schema}.jobs p where p.id = e.parent_id offset 0);
    -- They have no other edges: those of a job that ended went into its options.
    update {schema}.jobs j set options = j.options - 'edges', (pending_parents, state) = (
      select count(*)::integer, (case when count(*) > 0 then 'blocked' else 'waiting' end)::{schema}.job_state from {schema}.job_dependencies d where d.child_id = j.id)
    where j.id = any (ids) and j.options ? 'edges';
    update {schema}.jobs j set has_children = true
    where j.id = any (of_edges) and not j.has_children and exists (select from {schema}.job_dependencies d where d.parent_id = j.id offset 0);
    -- Parents that have ended meanwhile decide at once.
    select r.lanes, r.watched, r.ended into resolved
    from (select array_agg(f.id) as ids, array_agg(f.state::text) as states, array_agg(f.result) as results
          from {schema}.finished_jobs f where f.id = any (of_edges)) e, {schema}.resolve_children(e.ids, e.states, e.results) r
    where e.ids is not null;
    lanes := resolved.lanes;
    watched := resolved.watched;
    ended := resolved.ended;
  end if;
  select nullif(coalesce(lanes, '[]') || coalesce(jsonb_agg(jsonb_build_array(l.queue, l.priority, l.seq)), '[]'), '[]') into lanes
  from (select j.queue, {schema}.lane(j.priority, j.limit_group) as priority, min(j.seq) as seq from {schema}.jobs j where j.id = any (ids) and j.state::text = 'waiting' group by 1, 2) l;
end
$$
