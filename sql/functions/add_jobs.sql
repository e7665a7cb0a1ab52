-- Stores jobs that need more than an insert: keys, parents, published defaults, or a transaction of any client (one text parameter fits them all).
-- All or nothing, in the caller's transaction.
--
-- drafts: [{id, task, queue?, priority?, maxAttempts?, args, delayMs?, runAt?, ttlMs?, headers?, options?, customId?, scheduledFor?, concurrencyKey?, rateKey?,
--           key?: {key, ttlMs, replace, extend}, parents?: [{id, onFailure, paths?}], local?}]
--   What a draft leaves out comes from the published task (local: false), then from the stock defaults.
-- channel: where to send the wake-up, in this transaction; null sends none.
-- repeated: the answer to an earlier call with these drafts was lost. The ids are the producer's, so what that call stored, live or ended by
--   now, is found and left alone.
-- Returns a row a draft, in order: id = the new job's, or the owner's of its key (created false). Rows without ord, the last ones, are no drafts but
-- lanes to look at again: jobs in them were locked here for a moment, and a claim skips what is locked.
--
-- Keys: the primary key of keys decides every race. A key that is taken is read, not locked, so that the end of its owner does not wait for the
-- caller's transaction; one that is released between the insert and that look is tried for again. So there is never a unique violation in the
-- caller's transaction.
-- A job keeps its key itself (dedup_key, dedup_ttl_ms), since the row in keys goes when it ends: a retry takes it again (sql/functions/retry_jobs.sql).
-- Locks: keys in the order of the keys, then jobs (parents, and owners that get new arguments) in the order of their ids, so that two calls cannot
-- deadlock, nor one and a settle, which holds jobs and wants the keys of those alone.
-- Parents: locked, then looked up live and, in a later statement (a new snapshot), among the finished; a parent that ends meanwhile is found in
-- one of the two. An unknown one is an error (PT404) and nothing is stored.
create or replace function {schema}.add_jobs(drafts jsonb, channel text default null, repeated boolean default false)
returns table (ord integer, id uuid, created boolean, queue text, state text, priority integer, seq bigint)
language plpgsql volatile
set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_mergejoin = off set search_path = pg_catalog, pg_temp set extra_float_digits = 1
as $$
#variable_conflict use_column
declare
  own uuid[];        -- of each draft: its id,
  queues text[];     --   its queue,
  owners uuid[];     --   and the job that it comes to: itself, or the owner of its key
  known uuid[] := '{}';
  any_key boolean;
  any_parent boolean;
  changes boolean;
  replacing integer[];
  draft record;
  owner uuid;
  again integer[];
  edge_children uuid[];
  edge_parents uuid[];
  edge_policies text[];
  edge_paths jsonb[];
  outer_parents uuid[];
  live uuid[];
  over_ids uuid[];
  over_states text[];
  over_results jsonb[];
  missing uuid;
  fresh uuid[];
  due double precision;
  lanes jsonb;
  touched jsonb;
  resolved record;
begin
  select array_agg((e ->> 'id')::uuid order by o), array_agg(coalesce(e ->> 'queue', t.queue, 'default') order by o),
    bool_or(e ->> 'customId' is not null or e #>> '{key,key}' is not null), bool_or(jsonb_typeof(e -> 'parents') = 'array')
  into own, queues, any_key, any_parent
  from jsonb_array_elements(drafts) with ordinality j (e, o) left join {schema}.tasks t on e ->> 'local' = 'false' and t.name = e ->> 'task';
  if own is null then
    return;
  end if;
  owners := own;
  if repeated then
    select coalesce(array_agg(x.id), '{}') into known
    from (select j.id from {schema}.jobs j where j.id = any (own) union all select f.id from {schema}.finished_jobs f where f.id = any (own)) x;
    -- They may be on their way to the disk still (sql/functions/add_job.sql): so that this commit waits for them, although it may have nothing to write.
    perform {schema}.flush_log();
  end if;

  -- 1. Keys.
  while any_key loop
    for draft in
      select d.ord, d.id, d.queue, k.kind, k.key, k.ttl_ms, k.extend, k.replace
      from rows from (jsonb_array_elements(drafts), unnest(own), unnest(queues)) with ordinality d (draft, id, queue, ord)
      cross join lateral (
        select 'key' as kind, d.draft #>> '{key,key}' as key, (d.draft #>> '{key,ttlMs}')::double precision as ttl_ms,
          coalesce((d.draft #>> '{key,extend}')::boolean, false) as extend, coalesce((d.draft #>> '{key,replace}')::boolean, false) as replace
        union all
        select 'id', d.draft ->> 'customId', null, false, false
      ) k
      where k.key is not null and d.id <> all (known) and (again is null or d.ord = any (again))
      order by d.queue, k.kind, k.key, d.ord
    loop
      continue when owners[draft.ord] <> draft.id;
      loop
        insert into {schema}.keys as k (job_id, until, queue, kind, key, release)
        values (draft.id, clock_timestamp() + draft.ttl_ms * interval '1 millisecond', draft.queue, draft.kind, draft.key,
          case when draft.kind = 'id' then 'removal' when draft.ttl_ms is not null then 'time' else 'finish' end)
        on conflict (queue, kind, key) do nothing
        returning k.job_id into owner;
        exit when found;
        select k.job_id, coalesce(k.until <= clock_timestamp(), false) or (draft.extend and k.release = 'time') into owner, changes
        from {schema}.keys k where k.queue = draft.queue and k.kind = draft.kind and k.key = draft.key;
        continue when not found;
        exit when not changes;
        update {schema}.keys k set (job_id, release, until) = (
          select case when o.over then draft.id else k.job_id end,
            case when not o.over then k.release when draft.kind = 'id' then 'removal' when draft.ttl_ms is not null then 'time' else 'finish' end,
            case when o.over or k.release = 'time' then clock_timestamp() + draft.ttl_ms * interval '1 millisecond' else k.until end
          from (select coalesce(k.until <= clock_timestamp(), false) as over) o)
        where k.queue = draft.queue and k.kind = draft.kind and k.key = draft.key
        returning k.job_id into owner;
        exit when found;
      end loop;
      if owner <> draft.id then
        owners[draft.ord] := owner;
        if draft.replace then
          replacing := replacing || draft.ord::integer;
        end if;
        -- It may have taken its custom id a moment ago.
        delete from {schema}.keys k where k.job_id = draft.id;
      end if;
    end loop;
    -- Whoever lost a custom id to a draft that then gave it back tries again.
    select array_agg(a.ord::integer) into again
    from unnest(own, owners) with ordinality a (id, owner, ord) join unnest(own, owners) b (id, owner) on b.id = a.owner
    where a.owner <> a.id and b.owner <> b.id;
    exit when again is null;
    for i in 1 .. cardinality(again) loop
      owners[again[i]] := own[again[i]];
    end loop;
  end loop;

  -- 2. Edges. A parent of this batch that is a duplicate stands for its owner.
  if any_parent then
    select array_agg(x.child order by x.ord), array_agg(x.parent order by x.ord), array_agg(x.policy order by x.ord), array_agg(x.paths order by x.ord),
      array_agg(distinct x.parent) filter (where x.is_outer)
    into edge_children, edge_parents, edge_policies, edge_paths, outer_parents
    from (
      select d.id as child, coalesce(m.owner, (p ->> 'id')::uuid) as parent, bool_or(n.id is null) as is_outer,
        min(coalesce(p ->> 'onFailure', 'block')) as policy,
        jsonb_path_query_array(jsonb_agg(p -> 'paths') filter (where p -> 'paths' is not null), '$[*][*]') as paths,
        -- Parents are told in the order in which they were given.
        min(array[d.ord, e.ord]) as ord
      from rows from (jsonb_array_elements(drafts), unnest(own), unnest(owners)) with ordinality d (draft, id, owner, ord)
      cross join lateral jsonb_array_elements(case when jsonb_typeof(d.draft -> 'parents') = 'array' then d.draft -> 'parents' else '[]' end)
        with ordinality e (p, ord)
      left join unnest(own, owners) m (id, owner) on m.id = (p ->> 'id')::uuid
      left join unnest(own) n (id) on n.id = coalesce(m.owner, (p ->> 'id')::uuid)
      where d.owner = d.id and d.id <> all (known)
      group by 1, 2
    ) x;
    if exists (select from unnest(edge_children, edge_parents) e (child, parent) where e.child = e.parent) then
      raise exception 'pgtusk: a job would depend on itself, since its parent is a duplicate of it' using errcode = 'PT400';
    end if;
  end if;

  -- 3. The jobs that this looks at or changes are locked; parents are looked up.
  if any_parent or replacing is not null then
    perform from {schema}.jobs j
    where j.id = any (coalesce(outer_parents, '{}') || array(select u.owner from unnest(owners) with ordinality u (owner, ord) where u.ord = any (replacing)))
      and (j.state::text = 'delayed' or j.id = any (outer_parents))
    order by j.id for no key update;
  end if;
  if outer_parents is not null then
    select array_agg(j.id), jsonb_agg(jsonb_build_array(j.queue, {schema}.lane(j.priority, j.limit_group), j.seq)) filter (where j.state = 'waiting') into live, touched
    from {schema}.jobs j where j.id = any (outer_parents);
    update {schema}.jobs j set has_children = true where j.id = any (live) and not j.has_children;
    -- Locked, so that a retry of a parent waits for this edge.
    perform from {schema}.finished_jobs f where f.id = any (outer_parents) for share;
    select array_agg(f.id), array_agg(f.state::text), array_agg(f.result) into over_ids, over_states, over_results
    from {schema}.finished_jobs f where f.id = any (outer_parents) and f.id <> all (coalesce(live, '{}'));
    select p into missing from unnest(outer_parents) p where p <> all (coalesce(live, '{}')) and p <> all (coalesce(over_ids, '{}')) limit 1;
    if missing is not null then
      raise exception 'pgtusk: no job has the id %, given in dependsOn', missing using errcode = 'PT404', hint = missing::text;
    end if;
  end if;

  -- 4. The jobs, in the order of the drafts; and delayed owners of keys get what the last of their duplicates said.
  with d as (
    select d.*, d.owner = d.id and d.id <> all (known) as fresh
    from rows from (jsonb_array_elements(drafts), unnest(own), unnest(queues), unnest(owners)) with ordinality d (draft, id, queue, owner, ord)
  ), family as (
    select child, count(*)::integer as n, array_agg(parent order by ord) as parents
    from unnest(edge_children, edge_parents) with ordinality e (child, parent, ord) group by child
  ), latest as (
    select distinct on (d.owner) d.owner, d.draft from d where d.ord = any (replacing) order by d.owner, d.ord desc
  ), said as (
    select d.ord, d.id, d.queue, d.fresh, d.draft as own, f.n, f.parents, c.parent is not null as has_children,
      case when f.child is null and greatest((d.draft ->> 'runAt')::timestamptz, now() + (d.draft ->> 'delayMs')::double precision * interval '1 millisecond') > now()
        then coalesce(l.draft, d.draft) else d.draft end as draft
    from d left join latest l on l.owner = d.id left join family f on f.child = d.id
      left join (select distinct parent from unnest(edge_parents) p (parent)) c on c.parent = d.id
    where d.fresh
    union all
    select null, l.owner, null, false, null, null, null, null, l.draft from latest l where not exists (select from d where d.id = l.owner and d.fresh)
  ), meant as (
    select s.ord, s.id, s.queue, s.fresh, s.own, s.n, s.parents, s.has_children, r.task, r.args, nullif(r.headers, 'null') as headers,
      coalesce(r.priority, t.priority, 5) as priority, coalesce(r."maxAttempts", t.retries + 1, 1) as max_attempts, coalesce(r."ttlMs", t.ttl_ms) as ttl_ms,
      greatest(r."runAt", now() + r."delayMs" * interval '1 millisecond') as at,
      -- A producer that knows the task by name alone says no key: then its jobs share one.
      coalesce(r."concurrencyKey", case when t.limits ? 'concurrency' then '' end) as concurrency_key,
      coalesce(r."rateKey", case when t.limits ? 'rate' then '' end) as rate_key,
      nullif(coalesce(t.options, '{}') || coalesce(nullif(r.options, 'null'), '{}'), '{}') as options
    from said s
    cross join lateral jsonb_to_record(s.draft) r (task text, priority smallint, "maxAttempts" integer, args jsonb, "delayMs" double precision,
      "runAt" timestamptz, "ttlMs" double precision, headers jsonb, options jsonb, local boolean,
      "concurrencyKey" text, "rateKey" text)
    left join {schema}.tasks t on r.local is false and t.name = r.task
  ), whole as (
    -- What a repeat needs to start afresh stands in its options.
    select m.*, now() + m.ttl_ms * interval '1 millisecond' as expires_at, case when m.options ? 'repeat' then m.options || jsonb_build_object('repeat',
      jsonb_strip_nulls(jsonb_build_object('maxAttempts', m.max_attempts, 'ttlMs', m.ttl_ms)) || (m.options -> 'repeat')) else m.options end as all_options
    from meant m
  ), replaced as (
    update {schema}.jobs j set task = w.task, args = w.args, headers = w.headers, options = w.all_options, priority = w.priority,
      max_attempts = w.max_attempts, run_at = greatest(w.at, now()), expires_at = w.expires_at, attempt = 0, attempts = null, error = null, crashes = 0,
      concurrency_key = w.concurrency_key, rate_key = w.rate_key, limit_group = {schema}.limit_group(w.task, w.concurrency_key, w.rate_key)
    from whole w where not w.fresh and j.id = any (array[w.id]) and j.state::text = 'delayed'
    returning j.run_at
  ), added as (
    insert into {schema}.jobs (id, run_at, expires_at, scheduled_for, max_attempts, pending_parents, state, priority, has_children, keyed, queue, task, args,
      headers, options, custom_id, concurrency_key, rate_key, limit_group, parents, dedup_key, dedup_ttl_ms)
    select w.id, case when w.at > now() then w.at end, w.expires_at, (w.own ->> 'scheduledFor')::timestamptz, w.max_attempts, coalesce(w.n, 0),
      (case when w.n > 0 then 'blocked' when w.at > now() then 'delayed' else 'waiting' end)::{schema}.job_state, w.priority,
      w.has_children, w.own ->> 'customId' is not null or w.own #>> '{key,key}' is not null, w.queue, w.task, w.args,
      w.headers, w.all_options, w.own ->> 'customId', w.concurrency_key, w.rate_key,
      {schema}.limit_group(w.task, w.concurrency_key, w.rate_key), w.parents, w.own #>> '{key,key}', (w.own #>> '{key,ttlMs}')::double precision
    from whole w where w.fresh order by w.ord
    on conflict do nothing
    returning id
  )
  select (select array_agg(a.id) from added a), (select extract(epoch from min(r.run_at) - now())::double precision * 1000 from replaced r) into fresh, due;

  -- 5. Edges are stored; parents that have ended already decide at once.
  if edge_children is not null then
    insert into {schema}.job_dependencies (parent_id, child_id, on_failure, paths)
    select e.* from unnest(edge_parents, edge_children, edge_policies, edge_paths) e (parent, child, policy, paths)
    where not repeated or e.child = any (fresh);
    if over_ids is not null then
      select r.lanes, r.due_ms into resolved from {schema}.resolve_children(over_ids, over_states, over_results) r;
      touched := nullif(coalesce(touched, '[]') || coalesce(resolved.lanes, '[]'), '[]');
      due := least(due, resolved.due_ms);
    end if;
  end if;

  -- 6. The earlier call may still have been on its way in the beginning, and its job may have come and gone since: then that was the job.
  if repeated then
    with twice as (
      delete from {schema}.jobs j where j.id = any (fresh) and exists (select from {schema}.finished_jobs f where f.id = j.id offset 0) returning j.id
    ), edges as (
      delete from {schema}.job_dependencies d using twice t where d.child_id = any (array[t.id])
    )
    delete from {schema}.keys k using twice t where k.job_id = any (array[t.id]) and k.release = 'finish';
  end if;

  if channel is not null then
    select nullif(coalesce(touched, '[]') || coalesce(jsonb_agg(jsonb_build_array(l.queue, l.priority, l.seq)), '[]'), '[]') into lanes
    from (select j.queue, {schema}.lane(j.priority, j.limit_group) as priority, min(j.seq) as seq from {schema}.jobs j where j.id = any (fresh) and j.state::text = 'waiting' group by 1, 2) l;
    select least(due, extract(epoch from min(j.run_at) - now())::double precision * 1000) into due
    from {schema}.jobs j where j.id = any (fresh) and j.state::text = 'delayed';
    perform {schema}.wake(channel, lanes, due);
  end if;

  return query
  select d.ord::integer, d.owner, d.owner = d.id, d.queue, coalesce(j.state::text, ''), coalesce({schema}.lane(j.priority, j.limit_group), 0), coalesce(j.seq, 0)
  from unnest(own, owners, queues) with ordinality d (id, owner, queue, ord)
  left join lateral (select * from {schema}.jobs x where x.id = d.id offset 0) j on j.id = d.owner
  union all
  select null, null, false, l ->> 0, 'waiting', (l ->> 1)::integer, (l ->> 2)::bigint from jsonb_array_elements(touched) l
  order by 1;
end
$$
