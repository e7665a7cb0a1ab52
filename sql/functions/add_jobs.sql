-- Stores jobs that need more than an insert: keys, parents, published defaults, or a transaction of any client (one text parameter fits them all).
-- All or nothing, in the caller's transaction.
--
-- drafts: [{id, task, queue?, priority?, maxAttempts?, args, delayMs?, runAt?, ttlMs?, headers?, options?, customId?, scheduledFor?,
--           key?: {key, ttlMs, replace, extend}, parents?: [{id, onFailure, paths?}], local?}]
--   What a draft leaves out comes from the published task (local: false), then from the stock defaults.
-- channel: where to send the wake-up, in this transaction; null sends none.
-- Returns a row a draft, in order: id = the new job's, or the owner's of its key (created false).
--
-- Keys: the primary key of keys decides every race. on conflict do update takes the row's lock and then sees the winner, also one that committed
-- a moment ago; so there is never a unique violation in the caller's transaction. Drafts take their keys in the order of the keys, so that two
-- batches cannot deadlock.
-- Parents: locked in the order of their ids, then looked up live and, in a later statement (a new snapshot), among the finished; a parent that
-- ends meanwhile is found in one of the two. An unknown one is an error (PT404) and nothing is stored.
-- Twice after an unknown commit: the ids are the producer's, so the second insert hits the primary key and adds nothing.
create or replace function {schema}.add_jobs(drafts jsonb, channel text default null)
returns table (ord integer, id uuid, created boolean, queue text, state text, priority integer, seq bigint)
language plpgsql volatile
as $$
#variable_conflict use_column
declare
  draft record;
  owner uuid;
  owners jsonb := '{}';
  replaced_due double precision;
  due double precision;
  inner_parents uuid[];
  outer_parents uuid[];
  live uuid[];
  over_ids uuid[];
  over_states text[];
  over_results jsonb[];
  resolved record;
  lanes jsonb;
  stored jsonb;
  missing uuid;
begin
  -- 1. Keys. A duplicate's ord is remembered with its owner.
  for draft in
    select d.ord, d.id, d.key, d.kind, d.ttl_ms, d.replace, d.extend, d.queue, d.draft
    from (
      select o::integer as ord, (e ->> 'id')::uuid as id, k.kind, k.key, k.ttl_ms, k.replace, k.extend, e as draft,
        coalesce(e ->> 'queue', case when (e ->> 'local') = 'false' then (select t.queue from {schema}.tasks t where t.name = e ->> 'task') end, 'default') as queue
      from jsonb_array_elements(drafts) with ordinality j (e, o)
      cross join lateral (
        select 'key' as kind, e -> 'key' ->> 'key' as key, (e -> 'key' ->> 'ttlMs')::double precision as ttl_ms,
          coalesce((e -> 'key' ->> 'replace')::boolean, false) as replace, coalesce((e -> 'key' ->> 'extend')::boolean, false) as extend
        where e -> 'key' is not null and jsonb_typeof(e -> 'key') = 'object'
        union all
        select 'id', e ->> 'customId', null, false, false where e ->> 'customId' is not null
      ) k
    ) d
    order by d.queue, d.kind, d.key, d.ord
  loop
    continue when owners ? draft.ord::text;
    insert into {schema}.keys as k (job_id, until, queue, kind, key, release)
    values (draft.id, clock_timestamp() + draft.ttl_ms * interval '1 millisecond', draft.queue, draft.kind, draft.key,
      case when draft.kind = 'id' then 'removal' when draft.ttl_ms is not null then 'time' else 'finish' end)
    on conflict (queue, kind, key) do update set
      job_id = case when k.until <= clock_timestamp() then excluded.job_id else k.job_id end,
      release = case when k.until <= clock_timestamp() then excluded.release else k.release end,
      until = case when k.until <= clock_timestamp() or (draft.extend and k.release = 'time') then excluded.until else k.until end
    returning k.job_id into owner;
    if owner <> draft.id then
      owners := owners || jsonb_build_object(draft.ord::text, owner);
      delete from {schema}.keys k where k.job_id = draft.id;
      if draft.replace then
        update {schema}.jobs j set
          args = draft.draft -> 'args', headers = nullif(draft.draft -> 'headers', 'null'), options = nullif(draft.draft -> 'options', 'null'),
          priority = coalesce((draft.draft ->> 'priority')::smallint, j.priority), max_attempts = coalesce((draft.draft ->> 'maxAttempts')::integer, j.max_attempts),
          run_at = greatest(coalesce((draft.draft ->> 'runAt')::timestamptz, now() + coalesce((draft.draft ->> 'delayMs')::double precision, 0) * interval '1 millisecond'), now()),
          expires_at = now() + (draft.draft ->> 'ttlMs')::double precision * interval '1 millisecond',
          attempt = 0, attempts = null, error = null, crashes = 0
        where j.id = owner and j.state = 'delayed'
        returning extract(epoch from j.run_at - now())::double precision * 1000 into replaced_due;
        due := least(due, replaced_due);
      end if;
    end if;
  end loop;

  -- 2. Parents: of this batch, or stored before.
  select array_agg(distinct p) filter (where p = any (own)), array_agg(distinct p) filter (where p <> all (own)) into inner_parents, outer_parents
  from (select array_agg((e ->> 'id')::uuid) as own from jsonb_array_elements(drafts) e) ids,
    (select (x ->> 'id')::uuid as p from jsonb_array_elements(drafts) with ordinality j (e, o),
       jsonb_array_elements(case when jsonb_typeof(e -> 'parents') = 'array' then e -> 'parents' else '[]' end) x where not owners ? o::text) parents;
  if outer_parents is not null then
    perform from {schema}.jobs where id = any (outer_parents) order by id for no key update;
    with marked as (update {schema}.jobs j set has_children = true where j.id = any (outer_parents) returning j.id)
    select array_agg(marked.id) into live from marked;
    -- Locked, so that a retry of a parent waits for this edge.
    perform from {schema}.finished_jobs f where f.id = any (outer_parents) for share;
    select array_agg(f.id), array_agg(f.state::text), array_agg(f.result) into over_ids, over_states, over_results from {schema}.finished_jobs f where f.id = any (outer_parents);
    select p into missing from unnest(outer_parents) p where p <> all (coalesce(live, '{}')) and p <> all (coalesce(over_ids, '{}')) limit 1;
    if missing is not null then
      raise exception 'pgtusk: no job has the id %, given in dependsOn', missing using errcode = 'PT404', hint = missing::text;
    end if;
  end if;

  -- 3. The jobs, in the order of the drafts.
  with d as (
    select o as ord, r.*, (select count(distinct x ->> 'id')::integer from jsonb_array_elements(case when jsonb_typeof(r.parents) = 'array' then r.parents else '[]' end) x) as open_parents
    from jsonb_array_elements(drafts) with ordinality j (e, o)
    cross join lateral jsonb_to_record(e) r (id uuid, task text, queue text, priority smallint, "maxAttempts" integer, args jsonb,
      "delayMs" double precision, "runAt" timestamptz, "ttlMs" double precision, headers jsonb, options jsonb, "customId" text, key jsonb,
      parents jsonb, "scheduledFor" timestamptz, local boolean)
    where not owners ? o::text
  ), placed as (
    select d.*, t.queue as t_queue, t.priority as t_priority, t.retries as t_retries, t.ttl_ms as t_ttl, t.options as t_options,
      greatest(d."runAt", now() + d."delayMs" * interval '1 millisecond') as at
    from d left join {schema}.tasks t on d.local is false and t.name = d.task
  ), added as (
    insert into {schema}.jobs (id, run_at, expires_at, scheduled_for, max_attempts, pending_parents, state, priority, has_children, keyed, queue, task, args,
      headers, options, custom_id, parents)
    select p.id, case when p.at > now() then p.at end, now() + coalesce(p."ttlMs", p.t_ttl) * interval '1 millisecond', p."scheduledFor",
      coalesce(p."maxAttempts", p.t_retries + 1, 1), p.open_parents,
      (case when p.open_parents > 0 then 'blocked' when p.at > now() then 'delayed' else 'waiting' end)::{schema}.job_state,
      coalesce(p.priority, p.t_priority, 5),
      p.id = any (coalesce(inner_parents, '{}')),
      p."customId" is not null or (p.key is not null and jsonb_typeof(p.key) = 'object'),
      coalesce(p.queue, p.t_queue, 'default'), p.task, p.args, nullif(p.headers, 'null'),
      nullif(coalesce(p.t_options, '{}') || coalesce(nullif(p.options, 'null'), '{}'), '{}'), p."customId",
      (select array_agg((x ->> 'id')::uuid) from jsonb_array_elements(case when jsonb_typeof(p.parents) = 'array' then p.parents else '[]' end) x)
    from placed p order by p.ord
    on conflict do nothing
    returning id, queue, state, priority, seq, run_at
  )
  select jsonb_object_agg(added.id, jsonb_build_array(queue, state, priority, seq)),
    (select jsonb_agg(jsonb_build_array(l.queue, l.priority, l.seq)) from (select queue, priority, min(seq) as seq from added where state = 'waiting' group by queue, priority) l),
    least(due, extract(epoch from min(run_at) filter (where state = 'delayed') - now())::double precision * 1000)
  into stored, lanes, due from added;

  -- 4. The edges; parents that have ended already decide at once.
  insert into {schema}.job_dependencies (parent_id, child_id, on_failure, paths)
  select distinct on (1, 2) (p ->> 'id')::uuid, (e ->> 'id')::uuid, coalesce(p ->> 'onFailure', 'block'), p -> 'paths'
  from jsonb_array_elements(drafts) e,
    jsonb_array_elements(case when jsonb_typeof(e -> 'parents') = 'array' then e -> 'parents' else '[]' end) p
  where stored ? (e ->> 'id')
  on conflict do nothing;
  if over_ids is not null then
    select r.lanes, r.due_ms into resolved from {schema}.resolve_children(over_ids, over_states, over_results) r;
    lanes := nullif(coalesce(lanes, '[]') || coalesce(resolved.lanes, '[]'), '[]');
    due := least(due, resolved.due_ms);
  end if;

  perform {schema}.wake(channel, lanes, due);

  return query
  select o::integer, coalesce((owners ->> o::text)::uuid, (e ->> 'id')::uuid), not owners ? o::text,
    coalesce(stored -> (e ->> 'id') ->> 0, e ->> 'queue', (select j2.queue from {schema}.jobs j2 where j2.id = (owners ->> o::text)::uuid), 'default'),
    coalesce(stored -> (e ->> 'id') ->> 1, ''), coalesce((stored -> (e ->> 'id') ->> 2)::integer, 0), coalesce((stored -> (e ->> 'id') ->> 3)::bigint, 0)
  from jsonb_array_elements(drafts) with ordinality j (e, o) order by o;
end
$$
