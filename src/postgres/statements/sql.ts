// Made from sql/ by scripts/generate-sql.mjs: change the .sql files and run `npm run generate`.

/** Statements; `{schema}` stands for the quoted schema, `{channel}` for the channel of notifications. */
export const statementTexts = {
  abandon: `select gone_parents, ended, lanes, due_ms, watched from {schema}.abandon_children($1)`,
  add_batch: `call {schema}.add_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`,
  add_job: `call {schema}.add_job($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
  cancelled_runs: `select r.id, j.error ->> 'message' as reason, j.id is null as gone
from unnest((select $1::uuid[]), (select $2::bigint[])) r (id, lease)
left join lateral (select * from {schema}.jobs x where x.id = r.id and x.lease = r.lease and x.worker_id = $3 offset 0) j on true
where j.id is null or j.cancel_requested`,
  claim: `select id, seq, priority, lease, task, attempt, max_attempts, args, options, headers, created_at, scheduled_for, subscribed, ttl
from {schema}.claim($1, $2, $3, $4, $5, $6)`,
  claim_limited: `select * from {schema}.claim_limited($1, $2, $3, $4, $5, $6)`,
  counts: `select queue, state, count(*)::integer as jobs, min(created_at) filter (where state = 'waiting') as oldest from {schema}.jobs where $1::text is null or queue = $1 group by 1, 2
union all
select queue, state, count(*)::integer, null from {schema}.finished_jobs where $1::text is null or queue = $1 group by 1, 2`,
  expire: `select ended, lanes, due_ms, watched from {schema}.expire_jobs($1)`,
  explain: `select
  coalesce((select q.paused from {schema}.queues q where q.name = $2), false) as paused,
  (select count(*)::integer from {schema}.workers w where w.heartbeat_at > now() - w.lease and $2 = any (w.queues)) as serving,
  (select count(*)::integer from {schema}.workers w where w.heartbeat_at > now() - w.lease and $2 = any (w.queues) and $3 = any (w.tasks)) as knowing,
  (select count(*)::integer from (
    select from {schema}.jobs o join {schema}.jobs j on j.id = $1
    where o.queue = $2 and o.state = 'waiting' and (o.priority < $4 or (o.priority = $4 and o.seq < j.seq)) limit 10000) before) as ahead`,
  explain_key: `select k.kind, k.key, k.job_id as owner
from (select * from {schema}.finished_jobs x where x.id = $1 limit 1) f
cross join lateral (values ('id', f.custom_id), ('key', f.dedup_key)) own (kind, key)
cross join lateral (select * from {schema}.keys x where x.queue = f.queue and x.kind = own.kind and x.key = own.key offset 0) k
where k.job_id <> f.id and (k.until is null or k.until > now())
order by k.kind limit 1`,
  explain_limits: `select j.concurrency_key, j.rate_key, t.concurrency, running.n as running, t.rate, task_rate.room as rate_room, task_rate.wait_ms as rate_wait,
  q.concurrency as queue_concurrency, in_queue.n as queue_running, q.rate_limit as queue_rate, queue_rate.room as queue_room, queue_rate.wait_ms as queue_wait
from {schema}.jobs j
left join lateral (
  select case when j.concurrency_key is not null then {schema}.amount(l.limits #> '{concurrency,limit}', 1000000)::integer end as concurrency,
    case when j.rate_key is not null and l.limits #> '{rate,limit}' <> 'null' then l.limits -> 'rate' end as rate
  from {schema}.tasks l where l.name = j.task
) t on true
left join {schema}.queues q on q.name = j.queue
cross join lateral (
  select count(*)::integer as n from {schema}.jobs r where r.state = 'active' and r.task = j.task and r.concurrency_key = j.concurrency_key
) running
cross join lateral (
  select count(*)::integer as n from {schema}.jobs r where r.state = 'active' and r.queue_limited and r.queue = q.name and q.concurrency is not null
) in_queue
cross join lateral {schema}.rate_room('task', j.task, j.rate_key, t.rate) task_rate
cross join lateral {schema}.rate_room('queue', j.queue, '', q.rate_limit) queue_rate
where j.id = $1 and j.state = 'waiting'`,
  heartbeat: `select cancelled, lost, versions, fleet from {schema}.heartbeat($1, $2, $3, $4, $5)`,
  insert_job: `insert into {schema}.jobs (id, queue, task, priority, max_attempts, args, headers, options) values ($1, $2, $3, $4, $5, $6, $7, $8)
returning seq, exists (select from {schema}.subscribers where expires_at > now()) as subscribed`,
  insert_jobs: `select lanes, due_ms, subscribed from {schema}.insert_jobs($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
  lost_claims: `select j.id, j.lease
from {schema}.jobs j
where j.state = 'active' and j.worker_id = $1 and j.started_at < now() - $2::double precision * interval '1 millisecond' and j.lease <> all ((select $3::bigint[])::bigint[])
order by row(j.id)`,
  next_due: `select delayed, expiry, schedule, exists (select from {schema}.subscribers where expires_at > now()) as subscribed from {schema}.next_due()`,
  notify: `select set_config('synchronous_commit', 'off', true), count(pg_notify($1, m)) from unnest($2::text[]) m where (select pg_notification_queue_usage()) <= 0.5`,
  partitions: `select p.dropped, (
  select array_agg(c.relname::text order by c.relname) from pg_inherits i join pg_class c on c.oid = i.inhrelid
  where i.inhparent = '{schema}.finished_jobs'::regclass and c.relname ~ '^finished_jobs_[0-9]{8}$' and c.relname <> all (p.dropped)
    and to_date(right(c.relname, 8), 'YYYYMMDD') < (now() at time zone 'UTC')::date - 1
) as kept
from (select {schema}.partitions() as dropped offset 0) p`,
  progress: `select exists (select from {schema}.subscribers where expires_at > now()) as subscribed from {schema}.progress($1, $2, $3, $4)`,
  promote: `select queue, priority, seq, jobs from {schema}.promote($1)`,
  promote_jobs: `update {schema}.jobs j set state = 'waiting', run_at = now(), seq = nextval('{schema}.job_seq')
where j.id = any ((select $1::uuid[])::uuid[]) and j.state::text = 'delayed'
returning j.id, j.queue, {schema}.lane(j.priority, j.limit_group) as priority, j.seq`,
  prune: `with stale_keys as (
  delete from {schema}.keys where ctid = any (array (select ctid from {schema}.keys where until <= now() order by until limit $1 for update skip locked))
  returning 1
), stale_rates as (
  delete from {schema}.rates where ctid = any (array (select ctid from {schema}.rates where expires_at <= now() limit $1 for update skip locked))
  returning 1
), stale_jobs as (
  delete from {schema}.finished_jobs_long where ctid = any (array (
    select ctid from {schema}.finished_jobs_long where keep_until <= now() order by keep_until limit $1 for update skip locked))
  returning 1
)
select (select count(*)::integer from stale_keys) as keys, (select count(*)::integer from stale_rates) as rates, (select count(*)::integer from stale_jobs) as jobs`,
  publish_tasks: `with published as (
  insert into {schema}.tasks as t (name, queue, priority, retries, ttl_ms, options, limits)
  select * from unnest($1::text[], $2::text[], $3::smallint[], $4::integer[], $5::double precision[], $6::jsonb[], $7::jsonb[])
    n (name, queue, priority, retries, ttl_ms, options, limits)
  order by name
  on conflict (name) do update
  set queue = excluded.queue, priority = excluded.priority, retries = excluded.retries, ttl_ms = excluded.ttl_ms, options = excluded.options,
    limits = excluded.limits, published_at = now()
  where (t.queue, t.priority, t.retries, t.ttl_ms, t.options, t.limits)
    is distinct from (excluded.queue, excluded.priority, excluded.retries, excluded.ttl_ms, excluded.options, excluded.limits)
  returning t.name, t.limits
), without_key as materialized (
  select j.id, coalesce(j.concurrency_key, case when p.limits ? 'concurrency' then '' end) as concurrency_key,
    coalesce(j.rate_key, case when p.limits ? 'rate' then '' end) as rate_key
  from {schema}.jobs j join published p on p.name = j.task
  where (p.limits ? 'concurrency' and j.concurrency_key is null) or (p.limits ? 'rate' and j.rate_key is null)
  order by j.id for update of j
)
update {schema}.jobs j
set concurrency_key = w.concurrency_key, rate_key = w.rate_key, limit_group = {schema}.limit_group(j.task, w.concurrency_key, w.rate_key)
from without_key w where j.id = w.id`,
  register_worker: `insert into {schema}.workers (id, lease, pid, host, version, queues, tasks, listens)
values ($1, $2::double precision * interval '1 millisecond', $3, $4, $5, $6, $7, $8)
on conflict (id) do update set heartbeat_at = now(), queues = excluded.queues, tasks = excluded.tasks, listens = excluded.listens`,
  reschedule: `with moved as (
  update {schema}.jobs j
  set run_at = n.at, state = (case when n.at > now() then 'delayed' else 'waiting' end)::{schema}.job_state, seq = nextval('{schema}.job_seq')
  from (select coalesce($3::timestamptz, now() + $2::double precision * interval '1 millisecond') as at) n
  where j.id = any ((select $1::uuid[])::uuid[]) and j.state in ('waiting', 'delayed')
  returning j.id, j.queue, {schema}.lane(j.priority, j.limit_group) as priority, j.seq, j.state, j.run_at
)
select id, queue, priority, seq, state, extract(epoch from run_at - now())::double precision * 1000 as due_ms from moved`,
  rescue: `select rescued, ended, workers, lanes, due_ms, watched from {schema}.rescue_jobs($1, $2, $3)`,
  settle: `select case when pg_catalog.cardinality(settled) operator(pg_catalog.=) pg_catalog.cardinality($2::pg_catalog.uuid[]) then null else coalesce(settled, '{}') end as settled,
  cancelled, watched, lanes, due_ms, ended, exists (select from {schema}.subscribers where expires_at operator(pg_catalog.>) pg_catalog.now()) as subscribed
from {schema}.settle($1, $2, $3, $4, $5, $6, $7, $8)`,
  settled_before: `select r.id, case when x.state = 'cancelled' then x.error end as cancelled
from unnest((select $1::uuid[]), (select $3::integer[])) r (id, attempt)
cross join lateral (
  (select f.state::text, f.error from {schema}.finished_jobs f where f.id = r.id and f.worker_id = $2::uuid and f.attempt = r.attempt limit 1)
  union all
  select j.state::text, null from {schema}.jobs j
  where j.id = r.id and j.attempt = r.attempt and j.attempts @> jsonb_build_array(jsonb_build_object('attempt', r.attempt, 'worker', $2::uuid))
    and not j.attempts @> jsonb_build_array(jsonb_build_object('attempt', r.attempt, 'error', jsonb_build_object('name', 'WorkerLostError')))
) x`,
  snapshots: `select id, task, queue, state, args, priority, attempt, max_attempts, attempts, progress, created_at, run_at, expires_at, started_at, finished_at, result, error,
  custom_id, headers, worker_id, parents, waiting_for
from {schema}.snapshots($1)`,
  sweep: `select queue, priority, seq from {schema}.sweep($1)`,
  wake: `select set_config('synchronous_commit', 'off', true), {schema}.wake($1::text, $2::text::jsonb, $3::double precision, $4::text),
  (select count(pg_notify($1::text, m)) from unnest($5::text[]) m where (select pg_notification_queue_usage()) <= 0.5)`,
  watch: `select id, marked, queue, priority, seq from {schema}.watch($1)`,
} as const

/** Functions that the migrations create. */
export const functionTexts = {
  abandon_children: `create or replace function {schema}.abandon_children(most integer, out gone_parents integer, out lanes jsonb, out due_ms double precision, out watched uuid[], out ended jsonb)
language plpgsql volatile
set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  gone uuid[];
begin
  select array_agg(x.parent_id) into gone
  from (select distinct d.parent_id from {schema}.job_dependencies d
        where not exists (select from {schema}.jobs j where j.id = d.parent_id offset 0)
          and not exists (select from {schema}.finished_jobs f where f.id = d.parent_id offset 0) limit most) x;
  gone_parents := coalesce(cardinality(gone), 0);
  if gone is not null then
    select r.lanes, r.due_ms, r.watched, r.ended into lanes, due_ms, watched, ended
    from {schema}.resolve_children(gone, array_fill('removed'::text, array[cardinality(gone)]), null) r;
  end if;
end
$$`,
  add_batch: `create or replace procedure {schema}.add_batch(ids uuid[], queues text[], tasks text[], priorities smallint[], max_attempts integer[], args jsonb[],
  delays double precision[], instants timestamptz[], ttls double precision[], headers jsonb[], options jsonb[], concurrency_keys text[], rate_keys text[],
  channel text, self text,
  inout lanes jsonb default null, inout due_ms double precision default null, inout subscribed boolean default null, inout told boolean default null)
language plpgsql
as $$
begin
  perform set_config('synchronous_commit', 'off', true);
  select i.lanes, i.due_ms, i.subscribed into lanes, due_ms, subscribed
  from {schema}.insert_jobs(ids, queues, tasks, priorities, max_attempts, args, delays, instants, ttls, headers, options, concurrency_keys, rate_keys) i;
  commit;
  perform set_config('synchronous_commit', 'off', true);
  told := {schema}.wake(channel, lanes, due_ms, '@' || self);
  commit;
  perform {schema}.flush_log();
end
$$`,
  add_job: `create or replace procedure {schema}.add_job(in_id uuid, in_queue text, in_task text, in_priority smallint, in_max_attempts integer, in_args jsonb, in_headers jsonb,
  in_options jsonb, channel text, self text, inout seq bigint default null, inout subscribed boolean default null, inout told boolean default null)
language plpgsql
as $$
begin
  perform set_config('synchronous_commit', 'off', true);
  insert into {schema}.jobs (id, queue, task, priority, max_attempts, args, headers, options)
  values (in_id, in_queue, in_task, in_priority, in_max_attempts, in_args, in_headers, in_options)
  returning jobs.seq, exists (select from {schema}.subscribers s where s.expires_at > now()) into seq, subscribed;
  commit;
  told := pg_notification_queue_usage() <= 0.5;
  if told then
    perform set_config('synchronous_commit', 'off', true);
    perform {schema}.wake_lane(channel, in_queue, in_priority, seq, '@' || split_part(self, ' ', 1), nullif(split_part(self, ' ', 2), '')::uuid);
    commit;
  end if;
  perform {schema}.flush_log();
end
$$`,
  add_jobs: `create or replace function {schema}.add_jobs(drafts jsonb, channel text default null, repeated boolean default false)
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
    perform {schema}.flush_log();
  end if;
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
        delete from {schema}.keys k where k.job_id = draft.id;
      end if;
    end loop;
    select array_agg(a.ord::integer) into again
    from unnest(own, owners) with ordinality a (id, owner, ord) join unnest(own, owners) b (id, owner) on b.id = a.owner
    where a.owner <> a.id and b.owner <> b.id;
    exit when again is null;
    for i in 1 .. cardinality(again) loop
      owners[again[i]] := own[again[i]];
    end loop;
  end loop;
  if any_parent then
    select array_agg(x.child order by x.ord), array_agg(x.parent order by x.ord), array_agg(x.policy order by x.ord), array_agg(x.paths order by x.ord),
      array_agg(distinct x.parent) filter (where x.is_outer)
    into edge_children, edge_parents, edge_policies, edge_paths, outer_parents
    from (
      select d.id as child, coalesce(m.owner, (p ->> 'id')::uuid) as parent, bool_or(n.id is null) as is_outer,
        min(coalesce(p ->> 'onFailure', 'block')) as policy,
        jsonb_path_query_array(jsonb_agg(p -> 'paths') filter (where p -> 'paths' is not null), '$[*][*]') as paths,
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
    perform from {schema}.finished_jobs f where f.id = any (outer_parents) for share;
    select array_agg(f.id), array_agg(f.state::text), array_agg(f.result) into over_ids, over_states, over_results
    from {schema}.finished_jobs f where f.id = any (outer_parents) and f.id <> all (coalesce(live, '{}'));
    select p into missing from unnest(outer_parents) p where p <> all (coalesce(live, '{}')) and p <> all (coalesce(over_ids, '{}')) limit 1;
    if missing is not null then
      raise exception 'pgtusk: no job has the id %, given in dependsOn', missing using errcode = 'PT404', hint = missing::text;
    end if;
  end if;
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
      coalesce(r."concurrencyKey", case when t.limits ? 'concurrency' then '' end) as concurrency_key,
      coalesce(r."rateKey", case when t.limits ? 'rate' then '' end) as rate_key,
      nullif(coalesce(t.options, '{}') || coalesce(nullif(r.options, 'null'), '{}'), '{}') as options
    from said s
    cross join lateral jsonb_to_record(s.draft) r (task text, priority smallint, "maxAttempts" integer, args jsonb, "delayMs" double precision,
      "runAt" timestamptz, "ttlMs" double precision, headers jsonb, options jsonb, local boolean,
      "concurrencyKey" text, "rateKey" text)
    left join {schema}.tasks t on r.local is false and t.name = r.task
  ), whole as (
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
$$`,
  add_plain_jobs: `create or replace function {schema}.add_plain_jobs(drafts jsonb, channel text) returns void
language plpgsql volatile
set plan_cache_mode = force_generic_plan set jit = off set search_path = pg_catalog, pg_temp set extra_float_digits = 1
as $$
declare
  lanes jsonb;
  due double precision;
  draft constant jsonb := drafts -> 0;
  of_queue text;
  of_priority smallint;
  number bigint;
begin
  if jsonb_array_length(drafts) = 1 and not draft ?| array['delayMs', 'runAt', 'ttlMs', 'concurrencyKey', 'rateKey'] then
    insert into {schema}.jobs (id, max_attempts, priority, queue, task, args, headers, options)
    values ((draft ->> 'id')::uuid, coalesce((draft ->> 'maxAttempts')::integer, 1), coalesce((draft ->> 'priority')::smallint, 5), coalesce(draft ->> 'queue', 'default'),
      draft ->> 'task', draft -> 'args', nullif(draft -> 'headers', 'null'), nullif(draft -> 'options', 'null'))
    returning queue, priority, seq into of_queue, of_priority, number;
    if channel is not null and pg_notification_queue_usage() <= 0.5 then
      perform {schema}.wake_lane(channel, of_queue, of_priority, number);
    end if;
    return;
  end if;
  with added as (
    insert into {schema}.jobs (id, run_at, expires_at, max_attempts, state, priority, queue, task, args, headers, options, concurrency_key, rate_key, limit_group)
    select i.id, case when i.at > now() then i.at end, now() + i."ttlMs" * interval '1 millisecond', coalesce(i."maxAttempts", 1),
      (case when i.at > now() then 'delayed' else 'waiting' end)::{schema}.job_state, coalesce(i.priority, 5), coalesce(i.queue, 'default'), i.task, i.args,
      nullif(i.headers, 'null'), nullif(i.options, 'null'), i."concurrencyKey", i."rateKey", {schema}.limit_group(i.task, i."concurrencyKey", i."rateKey")
    from (select r.*, e.ord, greatest(r."runAt", now() + r."delayMs" * interval '1 millisecond') as at
          from jsonb_array_elements(drafts) with ordinality e (draft, ord)
          cross join lateral jsonb_to_record(e.draft) r (id uuid, queue text, task text, priority smallint, "maxAttempts" integer, args jsonb, "delayMs" double precision,
            "runAt" timestamptz, "ttlMs" double precision, headers jsonb, options jsonb, "concurrencyKey" text, "rateKey" text)) i
    order by i.ord
    returning queue, {schema}.lane(priority, limit_group) as priority, seq, run_at
  ), by_lane as (
    select queue, priority, min(seq) as seq from added where run_at is null group by queue, priority
  )
  select (select jsonb_agg(jsonb_build_array(queue, priority, seq)) from by_lane), (select extract(epoch from min(run_at) - now())::double precision * 1000 from added)
  into lanes, due;
  perform {schema}.wake(channel, lanes, due);
end
$$`,
  add_repeats: `create or replace function {schema}.add_repeats(repeats jsonb, out lanes jsonb, out due_ms double precision)
language plpgsql volatile
set jit = off set enable_seqscan = off set enable_bitmapscan = off
as $$
begin
  insert into {schema}.jobs (id, run_at, expires_at, max_attempts, state, priority, keyed, queue, task, args, headers, options, custom_id, concurrency_key, rate_key, limit_group, dedup_key)
  select r.next, now() + r.every * interval '1 millisecond',
    now() + (r.every + {schema}.amount(r.options -> 'repeat' -> 'ttlMs', 3155760000000)) * interval '1 millisecond',
    coalesce(greatest({schema}.amount(r.options -> 'repeat' -> 'maxAttempts', 32768), 1)::integer, 1), 'delayed', r.priority,
    exists (select from {schema}.keys k where k.job_id = r.next offset 0), r.queue, r.task, r.args, r.headers, r.options - 'budget' - 'ttl', r."customId", r."concurrencyKey", r."rateKey",
    {schema}.limit_group(r.task, r."concurrencyKey", r."rateKey"), r.key
  from (select x.*, {schema}.amount(x.options -> 'repeat' -> 'everyMs', 3155760000000) as every
        from jsonb_to_recordset(repeats) x (next uuid, queue text, task text, priority smallint, args jsonb, headers jsonb, options jsonb, "customId" text,
          "concurrencyKey" text, "rateKey" text, key text)) r;
  select min({schema}.amount(r -> 'options' -> 'repeat' -> 'everyMs', 3155760000000)) into due_ms from jsonb_array_elements(repeats) r;
end
$$`,
  amount: `create or replace function {schema}.amount(value jsonb, most double precision) returns double precision
language sql immutable
as $$
  select case when jsonb_typeof(value) = 'number' then least(greatest((value #>> '{}')::numeric, 0), most::numeric)::double precision end
$$`,
  attempt: `create or replace function {schema}.attempt(number integer, started_at timestamptz, worker uuid, error jsonb) returns jsonb
language sql stable
as $$
  select jsonb_build_array(jsonb_build_object('attempt', number, 'startedAt', started_at, 'endedAt', now(), 'worker', worker, 'error', error))
$$`,
  begin_epoch: `create or replace function {schema}.begin_epoch() returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if current_setting('synchronous_commit') = 'off' then
    perform set_config('synchronous_commit', 'local', true);
  end if;
  insert into {schema}.epoch as e default values
  on conflict (one) do update set server_started_at = excluded.server_started_at where e.server_started_at <> excluded.server_started_at;
  if found then
    perform setval('{schema}.lease_seq', s.last_value + 1073741824) from {schema}.lease_seq s;
  end if;
end
$$`,
  cancel_jobs: `create or replace function {schema}.cancel_jobs(targets uuid[], reason text, out ids uuid[], out active uuid[], out lanes jsonb, out due_ms double precision, out watched uuid[], out ended jsonb)
language plpgsql volatile
set jit = off set enable_seqscan = off set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
  failure jsonb := jsonb_build_object('name', 'JobCancelledError', 'message', coalesce(reason, 'The job was cancelled'));
  found record;
begin
  with locked as (
    select id, state, queue, task from {schema}.jobs where id = any (targets) order by id for update
  ), flagged as (
    update {schema}.jobs j set cancel_requested = true, error = failure where j.id = any (array(select id from locked where state = 'active')) and not j.cancel_requested returning j.id
  )
  select array_agg(l.id) filter (where l.state <> 'active') as still, (select array_agg(f.id) from flagged f) as running,
    jsonb_agg(jsonb_build_object('id', l.id, 'queue', l.queue, 'task', l.task, 'state', 'cancelled', 'error', failure)) filter (where l.state <> 'active') as told
  into found from locked l;
  active := found.running;
  ids := coalesce(found.still, '{}') || coalesce(found.running, '{}');
  if found.still is not null then
    select e.lanes, e.due_ms, e.watched, found.told || coalesce(e.ended, '[]') into lanes, due_ms, watched, ended
    from {schema}.settle(null, found.still, null, array_fill('cancelled'::text, array[cardinality(found.still)]), null, null,
      array_fill(failure, array[cardinality(found.still)]), null) e;
  end if;
end
$$`,
  check_backoff: `create or replace function {schema}.check_backoff(value jsonb, field text) returns jsonb
language plpgsql immutable
as $$
begin
  if value is null or (jsonb_typeof(value) = 'number' and value >= '0') then
    return value;
  end if;
  if jsonb_typeof(value) = 'object' and value ? 'steps' then
    perform {schema}.check_keys(value, field, array['steps']);
    if jsonb_typeof(value -> 'steps') = 'array' and value -> 'steps' <> '[]' then
      perform {schema}.duration_ms(s, format('steps[%s] of %s', o - 1, field)) from jsonb_array_elements(value -> 'steps') with ordinality e (s, o);
      return value;
    end if;
  elsif jsonb_typeof(value) = 'object' and value ?| array['base', 'fixed'] then
    perform {schema}.check_keys(value, field, case when value ? 'fixed' then array['fixed', 'jitter'] else array['base', 'first', 'max', 'jitter'] end);
    perform {schema}.duration_ms(value -> k, k || ' of ' || field) from unnest(array['fixed', 'first', 'max']) k;
    if (not value ? 'base' or (jsonb_typeof(value -> 'base') = 'number' and value -> 'base' >= '0'))
      and (not value ? 'jitter' or (jsonb_typeof(value -> 'jitter') = 'number' and value -> 'jitter' between '0' and '1')) then
      return value;
    end if;
  end if;
  raise exception 'pgtusk: % is %; write a base (2), {"base": 2, "first": "1s", "max": "1h", "jitter": 0.1}, {"fixed": "30s"} or {"steps": ["10s", "1m"]}', field, left(value::text, 80)
    using errcode = 'PT400';
end
$$`,
  check_integer: `create or replace function {schema}.check_integer(value jsonb, field text, low integer, high integer, meaning text) returns integer
language plpgsql immutable
as $$
begin
  if value is null then
    return null;
  end if;
  if jsonb_typeof(value) = 'number' then
    if (value #>> '{}')::numeric between low and high and (value #>> '{}')::numeric % 1 = 0 then
      return (value #>> '{}')::numeric::integer;
    end if;
  end if;
  raise exception 'pgtusk: % is %; write a whole number from % to % (%)', field, left(value::text, 80), low, high, meaning using errcode = 'PT400';
end
$$`,
  check_keys: `create or replace function {schema}.check_keys(value jsonb, field text, known text[]) returns void
language plpgsql immutable
as $$
declare
  unknown text;
begin
  if jsonb_typeof(value) is distinct from 'object' then
    raise exception 'pgtusk: % is %; write a JSON object with %', field, coalesce(left(value::text, 80), 'null'), array_to_string(known, ', ') using errcode = 'PT400';
  end if;
  select k into unknown from jsonb_object_keys(value) k where k <> all (known) order by k limit 1;
  if unknown is not null then
    raise exception 'pgtusk: "%" is unknown in %; known are %', unknown, field, array_to_string(known, ', ') using errcode = 'PT400';
  end if;
end
$$`,
  check_text: `create or replace function {schema}.check_text(value jsonb, field text, most integer default 255) returns text
language plpgsql immutable
as $$
begin
  if value is not null and (jsonb_typeof(value) <> 'string' or length(value #>> '{}') not between 1 and most) then
    raise exception 'pgtusk: % is %; write a string of 1 to % characters', field, left(value::text, 80), most using errcode = 'PT400';
  end if;
  return value #>> '{}';
end
$$`,
  claim: `create or replace function {schema}.claim(queue text, priorities smallint[], cursors bigint[], most integer, worker uuid, tasks text[])
returns table (id uuid, seq bigint, priority smallint, lease bigint, task text, attempt integer, max_attempts integer, args jsonb, options jsonb, headers jsonb,
  created_at double precision, scheduled_for double precision, subscribed boolean, ttl double precision)
language plpgsql volatile
set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  durable boolean := false;
begin
  if not exists (select from {schema}.epoch e where e.server_started_at = pg_postmaster_start_time()) then
    perform {schema}.begin_epoch();
    durable := true;
  end if;
  return query
  with lease as materialized (
    select nextval('{schema}.lease_seq') as n, case when not durable then set_config('synchronous_commit', 'off', true) end
  ), picked as materialized (
    select p.id
    from unnest(claim.priorities, claim.cursors) lane (priority, cursor)
    cross join lateral (
      select j.id from {schema}.jobs j
      where j.state = 'waiting' and j.limit_group is null and j.queue = claim.queue and j.priority = lane.priority and j.seq > lane.cursor
        and (j.expires_at is null or j.expires_at > now()) and j.task = any (claim.tasks)
        and not exists (select from {schema}.queues q where q.name = claim.queue and (q.paused or q.concurrency is not null or q.rate_limit is not null))
      order by j.seq limit claim.most for update skip locked
    ) p
    limit claim.most
  )
  update {schema}.jobs j
  set state = 'active', attempt = j.attempt + 1, started_at = now(), worker_id = claim.worker, lease = (select n from lease)
  where j.id = any (array(select id from picked))
  returning j.id, j.seq, j.priority, j.lease, j.task, j.attempt, j.max_attempts, j.args, j.options, j.headers,
    date_part('epoch', j.created_at) as created_at, date_part('epoch', j.scheduled_for) as scheduled_for,
    exists (select from {schema}.subscribers where expires_at > now()) as subscribed,
    date_part('epoch', j.expires_at - now()) * 1000 as ttl;
end
$$`,
  claim_limited: `create or replace function {schema}.claim_limited(in_queue text, most integer, worker uuid, known text[], after bigint, until bigint)
returns table (id uuid, seq bigint, priority smallint, lease bigint, task text, attempt integer, max_attempts integer, args jsonb, options jsonb, headers jsonb,
  created_at double precision, scheduled_for double precision, subscribed boolean, ttl double precision, next jsonb)
language plpgsql volatile
set plan_cache_mode = 'force_generic_plan' set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  furthest constant integer := 256;
  settings record;
  round record;
  paid record;
  whole boolean;
  listening boolean;
  number bigint;
  at bigint := coalesce(after, -9223372036854775808);
  stop bigint := coalesce(until, -9223372036854775808);
  wrapped boolean;
  looked integer := 0;
  most_groups integer;
  seen integer;
  rest integer := most;
  granted integer;
  allowance integer;
  groups bigint[] := '{}';      -- of each that may start something: its group, null for jobs without limits,
  tasks text[] := '{}';
  concurrency_keys text[] := '{}';
  rate_keys text[] := '{}';
  concurrencies integer[] := '{}';
  rules jsonb[] := '{}';
  going boolean[] := '{}';      --   whether it may have more,
  shares integer[];             --   and of this turn: its share of the slots,
  locked boolean[];             --   whether we hold the locks of its limits,
  allowances integer[];         --   what they allow,
  behind boolean[];             --   whether another group comes before it to one of them,
  taken integer[];              --   and what it got
  without_limits integer;       -- the place of jobs without limits among the groups
  picked uuid[];
  takers bigint[];              -- of each job picked, its group's place
  any_rates boolean := false;
  complete boolean := false;
  blocked boolean := false;
  contended boolean := false;
  soonest double precision;
begin
  select q.paused, q.concurrency, q.rate_limit into settings from {schema}.queues q where q.name = in_queue;
  whole := settings.concurrency is not null or settings.rate_limit is not null;
  if settings.paused then
    complete := true;
    rest := 0;
  elsif whole then
    if not pg_try_advisory_xact_lock(hashtextextended('{schema} queue ' || in_queue, 0)) then
      contended := true;
      complete := true;
      rest := 0;
    else
      if settings.concurrency is not null then
        select settings.concurrency - count(*) into allowance
        from (select from {schema}.jobs j where j.state = 'active' and j.queue_limited and j.queue = in_queue limit settings.concurrency) running;
        blocked := allowance < rest;
        rest := least(rest, allowance);
      end if;
      if settings.rate_limit is not null and rest > 0 then
        select r.room, r.wait_ms into allowance, soonest from {schema}.rate_room('queue', in_queue, '', settings.rate_limit) r;
        rest := least(rest, allowance);
      end if;
      complete := rest <= 0;
    end if;
  end if;
  granted := rest;
  wrapped := at < stop;
  while rest > 0 and not complete and looked < furthest and cardinality(groups) < rest loop
    most_groups := least(furthest - looked, rest - cardinality(groups));
    with recursive circle as (
      (select 1 as n, j.limit_group, j.task, j.concurrency_key, j.rate_key
       from {schema}.jobs j
       where j.queue = in_queue and j.state = 'waiting' and j.limit_group is not null and j.limit_group > at
         and j.limit_group <= case when wrapped then stop else 9223372036854775807 end
       order by j.limit_group, j.priority, j.seq limit 1)
      union all
      select c.n + 1, f.*
      from circle c
      cross join lateral (
        select j.limit_group, j.task, j.concurrency_key, j.rate_key
        from {schema}.jobs j
        where j.queue = in_queue and j.state = 'waiting' and j.limit_group is not null and j.limit_group > c.limit_group
          and j.limit_group <= case when wrapped then stop else 9223372036854775807 end
        order by j.limit_group, j.priority, j.seq limit 1
      ) f
      where c.n < most_groups
    ), ruled as materialized (
      select c.*, c.task = any (known) as ours,
        case when c.concurrency_key is not null then {schema}.amount(t.limits #> '{concurrency,limit}', 1000000)::integer end as concurrency,
        case when c.rate_key is not null and t.limits #> '{rate,limit}' <> 'null' then t.limits -> 'rate' end as rule
      from circle c left join {schema}.tasks t on t.name = c.task
    ), counted as materialized (
      select r.*, r.ours and r.concurrency <= (select count(*) from (select from {schema}.jobs j
        where j.state = 'active' and j.task = r.task and j.concurrency_key = r.concurrency_key limit coalesce(r.concurrency, 0)) running) as is_full
      from ruled r
    ), looks as materialized (
      select c.*, (select array[m.room, m.wait_ms] from {schema}.rate_room('task', c.task, c.rate_key, c.rule) m
        where c.rule is not null and c.ours and c.is_full is not true) as room
      from counted c
    ), startable as (
      select l.*, l.ours and l.is_full is not true and coalesce(l.room[1] >= 1, true) as may from looks l
    )
    select count(*)::integer as n, max(s.limit_group) as at, bool_or(s.is_full) as blocked, bool_or(s.room is not null) as rates,
      min(s.room[2]) filter (where s.room[1] < 1) as soonest,
      array_agg(s.limit_group) filter (where s.may) as groups, array_agg(s.task) filter (where s.may) as tasks,
      array_agg(s.concurrency_key) filter (where s.may) as concurrency_keys, array_agg(s.rate_key) filter (where s.may) as rate_keys,
      array_agg(s.concurrency) filter (where s.may) as concurrencies, array_agg(s.rule) filter (where s.may) as rules
    into round from startable s;
    seen := round.n;
    at := coalesce(round.at, at);
    blocked := blocked or coalesce(round.blocked, false);
    any_rates := any_rates or coalesce(round.rates, false);
    soonest := least(soonest, round.soonest);
    if round.groups is not null then
      groups := groups || round.groups;
      tasks := tasks || round.tasks;
      concurrency_keys := concurrency_keys || round.concurrency_keys;
      rate_keys := rate_keys || round.rate_keys;
      concurrencies := concurrencies || round.concurrencies;
      rules := rules || round.rules;
      going := array_fill(true, array[cardinality(groups)]);
    end if;
    looked := looked + seen;
    continue when seen = most_groups;
    looked := looked + 1;
    if wrapped then
      complete := true;
      at := stop;
      exit;
    end if;
    wrapped := true;
    at := -9223372036854775808;
    complete := at = stop;
    if whole then
      without_limits := cardinality(groups) + 1;
      groups := groups || null::bigint;
      tasks := tasks || null::text;
      concurrency_keys := concurrency_keys || null::text;
      rate_keys := rate_keys || null::text;
      concurrencies := concurrencies || null::integer;
      rules := rules || null::jsonb;
      going := going || true;
    end if;
  end loop;
  complete := complete or (wrapped and at >= stop);
  if cardinality(groups) > 0 then
    if not exists (select from {schema}.epoch e where e.server_started_at = pg_postmaster_start_time()) then
      perform {schema}.begin_epoch();
    end if;
    number := nextval('{schema}.lease_seq');
    listening := exists (select from {schema}.subscribers s where s.expires_at > now());
  end if;
  while rest > 0 and true = any (going) loop
    select array_agg(l.share::integer order by l.i), array_agg(l.locked order by l.i), contended or bool_or(not l.locked) into shares, locked, contended
    from (
      select g.i, g.share,
        (g.share = 0 or g.concurrency is null
          or pg_try_advisory_xact_lock(hashtextextended('{schema} concurrency ' || quote_literal(g.task) || quote_literal(g.concurrency_key), 0)))
        and (g.share = 0 or g.rule is null
          or pg_try_advisory_xact_lock(hashtextextended('{schema} rate ' || quote_literal(g.task) || quote_literal(g.rate_key), 0))) as locked
      from (
        select u.*, case when u.goes then rest / count(*) filter (where u.goes) over ()
            + (count(*) filter (where u.goes) over (order by u.i) <= rest % count(*) filter (where u.goes) over ())::integer else 0 end as share
        from unnest(going, tasks, concurrency_keys, rate_keys, concurrencies, rules) with ordinality u (goes, task, concurrency_key, rate_key, concurrency, rule, i)
      ) g
    ) l;
    select array_agg(a.allowance::integer order by a.i), array_agg(a.before > 0 order by a.i), blocked or bool_or(a.allowance < a.share) into allowances, behind, blocked
    from (
      select g.i, g.share, g.before, case when g.concurrency is null then g.share
        else greatest(least(g.share, g.concurrency - g.before - (select count(*) from (select from {schema}.jobs j
          where j.state = 'active' and j.task = g.task and j.concurrency_key = g.concurrency_key limit g.concurrency) running)), 0) end as allowance
      from (
        select u.i, u.task, u.concurrency_key, u.share, case when u.share > 0 then u.concurrency end as concurrency,
          case when u.concurrency is null then 0 else sum(u.share) over (partition by u.task, u.concurrency_key order by u.i) - u.share end as before
        from (select w.*, case when w.locked then w.of_rest else 0 end as share
              from unnest(shares, locked, tasks, concurrency_keys, concurrencies) with ordinality w (of_rest, locked, task, concurrency_key, concurrency, i)) u
      ) g
    ) a;
    if any_rates then
      with asked as materialized (
        select u.*, case when u.rule is null then 0 else sum(u.allowance) over (partition by u.task, u.rate_key order by u.i) - u.allowance end as before
        from unnest(allowances, behind, tasks, rate_keys, rules) with ordinality u (allowance, behind, task, rate_key, rule, i)
      ), rooms as materialized (
        select d.task, d.rate_key, r.room, r.wait_ms
        from (select distinct on (a.task, a.rate_key) a.task, a.rate_key, a.rule from asked a where a.rule is not null and a.allowance > 0) d
        cross join lateral {schema}.rate_room('task', d.task, d.rate_key, d.rule) r
      )
      select array_agg(case when r.room is null then a.allowance else greatest(least(a.allowance, r.room - a.before), 0)::integer end order by a.i),
        array_agg(a.behind or a.before > 0 order by a.i), least(soonest, min(r.wait_ms))
      into allowances, behind, soonest
      from asked a left join rooms r on a.rule is not null and r.task = a.task and r.rate_key = a.rate_key;
    end if;
    select array_agg(p.id), array_agg(g.i) into picked, takers
    from unnest(allowances, groups, tasks, concurrency_keys, rate_keys) with ordinality g (allowance, limit_group, task, concurrency_key, rate_key, i)
    cross join lateral (
      select j.id from {schema}.jobs j
      where j.queue = in_queue and j.state = 'waiting' and j.limit_group is not null and j.limit_group = g.limit_group and j.task = g.task
        and j.concurrency_key is not distinct from g.concurrency_key and j.rate_key is not distinct from g.rate_key
        and (j.expires_at is null or j.expires_at > now())
      order by j.priority, j.seq limit g.allowance for update skip locked
    ) p
    where g.allowance > 0 and not exists (select from {schema}.queues q where q.name = in_queue and q.paused);
    if allowances[without_limits] > 0 then
      select picked || array_agg(x.id), takers || array_agg(without_limits::bigint) into picked, takers
      from (select j.id from {schema}.jobs j
            where j.queue = in_queue and j.state = 'waiting' and j.limit_group is null and j.task = any (known) and (j.expires_at is null or j.expires_at > now())
              and not exists (select from {schema}.queues q where q.name = in_queue and q.paused)
            order by j.priority, j.seq limit allowances[without_limits] for update skip locked) x;
    end if;
    if cardinality(picked) > 0 then
      return query
      update {schema}.jobs j
      set state = 'active', attempt = j.attempt + 1, started_at = now(), worker_id = worker, lease = number, queue_limited = whole
      where j.id = any (picked)
      returning j.id, j.seq, j.priority, j.lease, j.task, j.attempt, j.max_attempts, j.args, j.options, j.headers,
        date_part('epoch', j.created_at), date_part('epoch', j.scheduled_for), listening, date_part('epoch', j.expires_at - now()) * 1000, null::jsonb;
    end if;
    select array_agg(s.taken order by s.i), array_agg(s.locked and (s.taken = s.share or (s.behind and s.taken = s.allowance)) and s.goes order by s.i)
    into taken, going
    from (select u.*, coalesce(cardinality(array_positions(takers, u.i)), 0) as taken
          from unnest(going, locked, shares, allowances, behind) with ordinality u (goes, locked, share, allowance, behind, i)) s;
    rest := rest - coalesce(cardinality(picked), 0);
    if any_rates then
      for paid in
        select u.task, u.rate_key, min(u.rule::text)::jsonb as rule, sum(u.taken)::integer as taken
        from unnest(tasks, rate_keys, rules, taken) u (task, rate_key, rule, taken) where u.rule is not null and u.taken > 0 group by 1, 2
      loop
        perform {schema}.take_rate('task', paid.task, paid.rate_key, paid.rule, paid.taken);
        select least(soonest, r.wait_ms) into soonest from {schema}.rate_room('task', paid.task, paid.rate_key, paid.rule) r;
      end loop;
    end if;
  end loop;
  if rest < granted and settings.rate_limit is not null then
    perform {schema}.take_rate('queue', in_queue, '', settings.rate_limit, granted - rest);
  end if;
  if whole and rest <= 0 and granted < most then
    complete := true;
    if settings.rate_limit is not null then
      select least(soonest, r.wait_ms) into soonest from {schema}.rate_room('queue', in_queue, '', settings.rate_limit) r;
    end if;
  end if;
  return query select null::uuid, null::bigint, null::smallint, null::bigint, null::text, null::integer, null::integer, null::jsonb, null::jsonb, null::jsonb,
    null::double precision, null::double precision, null::boolean, null::double precision,
    jsonb_build_object('at', at::text, 'complete', complete, 'blocked', blocked, 'contended', contended, 'waitMs', soonest, 'whole', whole);
end
$$`,
  drop_on: `create or replace function {schema}.drop_on(final {schema}.job_state, own jsonb, of_queue jsonb) returns date
language plpgsql stable
as $$
declare
  day constant double precision := 86400000;
  class constant text := case final when 'completed' then 'completed' else 'failed' end;
  kept constant jsonb := coalesce(own -> class, of_queue -> class);
  kept_ms double precision;
begin
  if kept = 'false' then return null; end if;
  kept_ms := coalesce({schema}.amount(kept, 3155760000000), case final when 'completed' then day else 14 * day end);
  if kept_ms > 15 * day then return 'infinity'; end if;
  return ((now() + kept_ms * interval '1 millisecond') at time zone 'UTC')::date;
end
$$`,
  duration_ms: `create or replace function {schema}.duration_ms(value jsonb, field text, positive boolean default false) returns double precision
language plpgsql immutable
as $$
declare
  parts text[];
  ms numeric;
begin
  if value is null then
    return null;
  end if;
  if jsonb_typeof(value) = 'number' then
    ms := (value #>> '{}')::numeric * 1000;
  elsif jsonb_typeof(value) = 'string' then
    parts := regexp_match(lower(value #>> '{}'), '^([0-9]+(?:[.][0-9]+)?(?:e[+-]?[0-9]{1,3})?|[.][0-9]+)(ms|s|m|h|d|w)$');
    ms := parts[1]::numeric * case parts[2]
      when 'ms' then 1 when 's' then 1000 when 'm' then 60000 when 'h' then 3600000 when 'd' then 86400000 else 604800000 end;
  end if;
  if ms is null or ms < 0 or ms > 3155760000000 or (positive and ms = 0) then
    raise exception 'pgtusk: % is %, which is no duration%; write seconds as a number (60) or a string with a unit ("500ms", "10m", "1d"), at most 100 years', field, value,
      case when positive then ' above 0' else '' end using errcode = 'PT400';
  end if;
  return case when ms > 0 then greatest(round(ms), 1) else 0 end;
end
$$`,
  enqueue: `create or replace function {schema}.enqueue(task text, args jsonb default '[]', options jsonb default '{}') returns uuid
language plpgsql volatile
set search_path = pg_catalog, pg_temp set extra_float_digits = 1
as $$
declare
  known constant text[] := array['queue', 'retries', 'backoff', 'ttl', 'timeout', 'priority', 'keep', 'delay', 'dependsOn', 'onParentFailure', 'repeatEvery', 'id', 'deduplicate', 'headers', 'wake', 'concurrencyKey', 'rateLimitKey'];
  failures constant text[] := array['block', 'fail', 'cancel', 'run'];
  o jsonb;
  whose text;
  dedup jsonb;
  policy text;
  due timestamptz;
  keep jsonb;
  retries integer;
  parents jsonb;
  parent jsonb;
  added uuid;
begin
  perform {schema}.check_text(to_jsonb(coalesce(task, '')), 'the name of a task');
  whose := format('of a job of task "%s"', task);
  if jsonb_typeof(args) is distinct from 'array' then
    raise exception 'pgtusk: the arguments % are %; write a JSON array, one element an argument', whose, coalesce(left(args::text, 80), 'null') using errcode = 'PT400';
  end if;
  perform {schema}.check_keys(coalesce(options, '{}'), 'the options ' || whose, known);
  select coalesce(jsonb_object_agg(k, v), '{}') into o from jsonb_each(options) e (k, v) where v <> 'null';
  retries := {schema}.check_integer(o -> 'retries', 'retries ' || whose, 0, 32767, 'extra runs after the first');
  if {schema}.check_text(o -> 'id', 'id ' || whose) ~ '^[0-9]+$|:' then
    raise exception 'pgtusk: id % is %; write one that is not made of digits only and holds no ":"', whose, o -> 'id' using errcode = 'PT400';
  end if;
  if {schema}.check_text(o -> 'onParentFailure', 'onParentFailure ' || whose) <> all (failures) then
    raise exception 'pgtusk: onParentFailure % is %; write one of %', whose, o -> 'onParentFailure', array_to_string(failures, ', ') using errcode = 'PT400';
  end if;
  if {schema}.check_text(o -> 'wake', 'wake ' || whose) not in ('now', 'poll') then
    raise exception 'pgtusk: wake % is %; write "now" or "poll"', whose, o -> 'wake' using errcode = 'PT400';
  end if;
  if jsonb_typeof(o -> 'delay') = 'string' and o ->> 'delay' ~ '^[0-9]{4}-' then
    begin
      due := (o ->> 'delay')::timestamptz;
    exception when others then
      raise exception 'pgtusk: delay % is %, which is no instant; write it as "2026-01-01T00:00:00Z", or a duration ("5m")', whose, o -> 'delay' using errcode = 'PT400';
    end;
    o := o - 'delay';
  end if;
  if o ? 'keep' then
    perform {schema}.check_keys(o -> 'keep', 'keep ' || whose, array['completed', 'failed']);
    select jsonb_object_agg(k, case when v = 'false' then v else to_jsonb({schema}.duration_ms(v, format('%s of keep %s', k, whose))) end) into keep
    from jsonb_each(o -> 'keep') e (k, v) where v <> 'null';
  end if;
  if o ? 'headers' then
    if jsonb_typeof(o -> 'headers') <> 'object' or exists (select from jsonb_each(case when jsonb_typeof(o -> 'headers') = 'object' then o -> 'headers' else '{}' end) e (k, v) where jsonb_typeof(v) <> 'string') then
      raise exception 'pgtusk: headers % are %; write strings by name: {"trace-id": "4f2a"}', whose, left((o -> 'headers')::text, 80) using errcode = 'PT400';
    end if;
  end if;
  if o ? 'deduplicate' then
    dedup := case when jsonb_typeof(o -> 'deduplicate') = 'string' then jsonb_build_object('key', o -> 'deduplicate') else o -> 'deduplicate' end;
    perform {schema}.check_keys(dedup, 'deduplicate ' || whose, array['key', 'ttl', 'replace', 'extend']);
    perform {schema}.check_text(coalesce(dedup -> 'key', 'null'), 'key of deduplicate ' || whose, 1000);
    if octet_length(dedup ->> 'key') > 1000 then
      raise exception 'pgtusk: key of deduplicate % has % bytes; write at most 1000, or a hash of it', whose, octet_length(dedup ->> 'key') using errcode = 'PT400';
    end if;
    if exists (select from jsonb_each(dedup) e (k, v) where k in ('replace', 'extend') and jsonb_typeof(v) not in ('boolean', 'null')) then
      raise exception 'pgtusk: deduplicate % is %; write true or false for replace and extend', whose, left(dedup::text, 80) using errcode = 'PT400';
    end if;
    if dedup -> 'extend' = 'true' and coalesce(dedup -> 'ttl', 'null') = 'null' then
      raise exception 'pgtusk: extend of deduplicate % needs a time to extend; add a ttl', whose using errcode = 'PT400';
    end if;
    dedup := jsonb_strip_nulls(dedup || jsonb_build_object('ttlMs', {schema}.duration_ms(nullif(dedup -> 'ttl', 'null'), 'ttl of deduplicate ' || whose, true)));
  end if;
  if greatest(octet_length({schema}.check_text(o -> 'concurrencyKey', 'concurrencyKey ' || whose, 1000)),
      octet_length({schema}.check_text(o -> 'rateLimitKey', 'rateLimitKey ' || whose, 1000))) > 1000 then
    raise exception 'pgtusk: concurrencyKey and rateLimitKey % may have 1000 bytes each; write less, or a hash', whose using errcode = 'PT400';
  end if;
  if o ? 'dependsOn' then
    if jsonb_typeof(o -> 'dependsOn') <> 'array' then
      raise exception 'pgtusk: dependsOn % is %; write a JSON array of jobs'' ids', whose, left((o -> 'dependsOn')::text, 80) using errcode = 'PT400';
    end if;
    parents := '[]';
    for parent in select jsonb_array_elements(o -> 'dependsOn') loop
      if jsonb_typeof(parent) = 'object' then
        perform {schema}.check_keys(parent, 'an element of dependsOn ' || whose, array['job', 'onFailure']);
      else
        parent := jsonb_build_object('job', parent);
      end if;
      policy := coalesce({schema}.check_text(parent -> 'onFailure', 'onFailure in dependsOn ' || whose), o ->> 'onParentFailure', 'block');
      if policy <> all (failures) then
        raise exception 'pgtusk: onFailure in dependsOn % is "%"; write one of %', whose, policy, array_to_string(failures, ', ') using errcode = 'PT400';
      end if;
      if coalesce(parent ->> 'job', '') !~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then
        raise exception 'pgtusk: a parent in dependsOn % is %, which is no job''s id', whose, coalesce(left((parent -> 'job')::text, 80), 'null') using errcode = 'PT404';
      end if;
      parents := parents || jsonb_build_object('id', parent -> 'job', 'onFailure', policy);
    end loop;
  end if;
  select a.id into added
  from {schema}.add_jobs(jsonb_build_array(jsonb_strip_nulls(jsonb_build_object(
      'id', {schema}.uuid_v7(), 'task', task, 'local', false, 'queue', {schema}.check_text(o -> 'queue', 'queue ' || whose),
      'priority', {schema}.check_integer(o -> 'priority', 'priority ' || whose, -32768, 32767, 'lower runs first'), 'maxAttempts', retries + 1,
      'delayMs', {schema}.duration_ms(o -> 'delay', 'delay ' || whose), 'runAt', due, 'ttlMs', {schema}.duration_ms(o -> 'ttl', 'ttl ' || whose, true),
      'customId', o -> 'id', 'key', dedup, 'concurrencyKey', o -> 'concurrencyKey', 'rateKey', o -> 'rateLimitKey', 'parents', nullif(parents, '[]'),
      'options', nullif(jsonb_strip_nulls(jsonb_build_object(
        'backoff', {schema}.check_backoff(o -> 'backoff', 'backoff ' || whose), 'timeoutMs', {schema}.duration_ms(o -> 'timeout', 'timeout ' || whose, true), 'keep', keep,
        'repeat', case when o ? 'repeatEvery' then jsonb_build_object('everyMs', {schema}.duration_ms(o -> 'repeatEvery', 'repeatEvery ' || whose, true)) end)), '{}')
    )) || jsonb_build_object('args', args, 'headers', o -> 'headers')), case when o ->> 'wake' = 'poll' then null else '{channel}' end) a
  where a.ord = 1;
  return added;
end
$$`,
  expire_jobs: `create or replace function {schema}.expire_jobs(most integer, out ended jsonb, out lanes jsonb, out due_ms double precision, out watched uuid[])
language plpgsql volatile
set jit = off set enable_seqscan = off set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
  due record;
  ends record;
begin
  select array_agg(x.id) as ids, array_agg('expired'::text) as outcomes,
    jsonb_agg(jsonb_build_object('id', x.id, 'queue', x.queue, 'task', x.task, 'state', 'expired', 'error', x.error)) as told, array_agg(x.error) as errors
  into due
  from (select j.id, j.queue, j.task, jsonb_build_object('name', 'JobExpiredError', 'message', format('Its ttl ran out %s after it was enqueued, before a run could start',
          date_trunc('milliseconds', j.expires_at - j.created_at))) as error
        from {schema}.jobs j
        where j.state <> 'active' and j.expires_at is not null and j.expires_at <= now() order by j.expires_at limit most for update skip locked) x;
  if due.ids is null then
    return;
  end if;
  select e.lanes, e.due_ms, e.watched, due.told || coalesce(e.ended, '[]') into lanes, due_ms, watched, ended from {schema}.settle(null, due.ids, null, due.outcomes, null, null, due.errors, null) e;
end
$$`,
  flush_log: `create or replace function {schema}.flush_log() returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform setval('{schema}.flush_seq', 1);
end
$$`,
  heartbeat: `create or replace function {schema}.heartbeat(worker uuid, n integer, ids uuid[], leases bigint[], listening boolean)
returns table (cancelled uuid[], lost integer[], versions integer[], fleet double precision[])
language plpgsql volatile
set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
begin
  return query
  update {schema}.workers w set heartbeat_at = now(), running = heartbeat.n, listens = heartbeat.listening where w.id = heartbeat.worker
  returning
    (select array_agg(j.id) from unnest(heartbeat.ids, heartbeat.leases) r (id, lease)
     cross join lateral (select * from {schema}.jobs x where x.id = r.id and x.lease = r.lease and x.cancel_requested offset 0) j),
    (select array_agg(r.place::integer) from unnest(heartbeat.ids, heartbeat.leases) with ordinality r (id, lease, place)
     where not exists (select from {schema}.jobs j where j.id = r.id and j.lease = r.lease and j.worker_id = heartbeat.worker offset 0)),
    (select array[m.version, m.min_version] from {schema}.meta m),
    (select array[count(*) filter (where o.live and (o.listens is not true, o.id) < (not heartbeat.listening, heartbeat.worker)), count(*) filter (where o.live),
       extract(epoch from min(o.heartbeat_at + o.lease) - now()) * 1000]::double precision[]
     from (select v.id, v.listens, v.heartbeat_at, v.lease, v.heartbeat_at > now() - v.lease as live from {schema}.workers v where v.id <> heartbeat.worker) o);
end
$$`,
  insert_jobs: `create or replace function {schema}.insert_jobs(ids uuid[], queues text[], tasks text[], priorities smallint[], max_attempts integer[], args jsonb[],
  delays double precision[], instants timestamptz[], ttls double precision[], headers jsonb[], options jsonb[], concurrency_keys text[], rate_keys text[],
  out lanes jsonb, out due_ms double precision, out subscribed boolean)
language plpgsql volatile
set plan_cache_mode = force_generic_plan set jit = off
as $$
begin
  subscribed := exists (select from {schema}.subscribers s where s.expires_at > now());
  if cardinality(queues) = 1 and cardinality(priorities) = 1 and delays is null and instants is null and ttls is null and concurrency_keys is null and rate_keys is null then
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
$$`,
  lane: `create or replace function {schema}.lane(priority smallint, limit_group bigint) returns integer
language sql immutable
as $$
  select case when limit_group is null then priority else 32768 end
$$`,
  limit_group: `create or replace function {schema}.limit_group(task text, concurrency_key text, rate_key text) returns bigint
language sql immutable
as $$
  select case when concurrency_key is not null or rate_key is not null
    then hashtextextended(quote_literal(task) || ',' || quote_nullable(concurrency_key) || ',' || quote_nullable(rate_key), 0) end
$$`,
  next_due: `create or replace function {schema}.next_due(out delayed double precision, out expiry double precision, out schedule double precision)
language plpgsql stable
set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
begin
  delayed := extract(epoch from (select j.run_at from {schema}.jobs j where j.state = 'delayed' order by j.run_at limit 1) - now()) * 1000;
  expiry := extract(epoch from (select j.expires_at from {schema}.jobs j where j.state <> 'active' and j.expires_at is not null order by j.expires_at limit 1) - now()) * 1000;
  schedule := extract(epoch from (select min(s.next_run_at) from {schema}.schedules s where not s.paused and s.next_run_at is not null) - now()) * 1000;
end
$$`,
  partitions: `create or replace function {schema}.partitions() returns text[]
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
  home constant text := '{schema}';
  today date := (now() at time zone 'UTC')::date;
  day date;
  part text;
  dropped text[] := '{}';
begin
  if not pg_try_advisory_xact_lock(hashtextextended('{schema}.partitions', 7021)) then
    return dropped;
  end if;
  for day in select today + n from generate_series(0, 17) n loop
    part := 'finished_jobs_' || to_char(day, 'YYYYMMDD');
    if to_regclass('{schema}.' || part) is null then
      execute format('create table %1$s.%2$I (like %1$s.finished_jobs including defaults including constraints)', home, part);
      execute format('alter table %1$s.%2$I replica identity full', home, part);
      execute format('alter table %1$s.finished_jobs attach partition %1$s.%2$I for values from (%3$L) to (%4$L)', home, part, day, day + 1);
    end if;
  end loop;
  for part in
    select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = '{schema}.finished_jobs'::regclass and c.relname ~ '^finished_jobs_[0-9]{8}$' and to_date(right(c.relname, 8), 'YYYYMMDD') < today
  loop
    begin
      set local lock_timeout = '250ms';
      execute format('drop table %s.%I', home, part);
      dropped := dropped || part;
    exception
      when lock_not_available then
        null;
      when others then
        raise warning 'pgtusk: the past day %.% cannot be dropped: %', home, part, sqlerrm;
    end;
  end loop;
  return dropped;
end
$$`,
  progress: `create or replace function {schema}.progress(worker uuid, ids uuid[], leases bigint[], progress jsonb[]) returns void
language plpgsql volatile
set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
begin
  update {schema}.jobs j set progress = p.progress
  from unnest(progress.ids, progress.leases, progress.progress) p (id, lease, progress)
  where j.id = any (array[p.id]) and j.lease = p.lease and j.worker_id = progress.worker;
end
$$`,
  promote: `create or replace function {schema}.promote(most integer) returns table (queue text, priority integer, seq bigint, jobs integer)
language plpgsql volatile
set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
begin
  return query
  with due as materialized (
    select id from {schema}.jobs where state = 'delayed' and run_at <= now() order by run_at limit promote.most for update skip locked
  ), moved as (
    update {schema}.jobs j set state = 'waiting', seq = nextval('{schema}.job_seq') where j.id = any (array(select id from due)) returning j.queue, {schema}.lane(j.priority, j.limit_group) as priority, j.seq
  )
  select m.queue, m.priority, min(m.seq), count(*)::integer from moved m group by m.queue, m.priority;
end
$$`,
  rate_now: `create or replace function {schema}.rate_now(of_kind text, of_name text, of_key text, rule jsonb,
  out most double precision, out per_ms double precision, out clock timestamptz, out tokens double precision, out span interval, out starts timestamptz[], out counts integer[])
language plpgsql volatile
as $$
declare
  past record;
begin
  most := {schema}.amount(rule -> 'limit', 1000000000);
  per_ms := greatest({schema}.amount(rule -> 'perMs', 3155760000000), 1);
  select r.at, r.tokens, r.starts, r.counts into past from {schema}.rates r where r.kind = of_kind and r.name = of_name and r.key = of_key;
  clock := greatest(clock_timestamp(), past.at);
  if rule ->> 'strategy' = 'token-bucket' then
    tokens := least(most, coalesce(past.tokens + extract(epoch from clock - past.at)::double precision * 1000 * most / per_ms, most));
    return;
  end if;
  span := (per_ms + least(per_ms * 0.05, 25)) * interval '1 millisecond';
  select coalesce(array_agg(s.at order by s.i), '{}'), coalesce(array_agg(s.n order by s.i), '{}') into starts, counts
  from unnest(past.starts, past.counts) with ordinality s (at, n, i) where s.at > clock - span;
end
$$`,
  rate_room: `create or replace function {schema}.rate_room(of_kind text, of_name text, of_key text, rule jsonb, out room integer, out wait_ms double precision)
language plpgsql volatile
as $$
declare
  rate record;
begin
  select r.* into rate from {schema}.rate_now(of_kind, of_name, of_key, rule) r;
  room := rate.most::integer;
  if rate.most is null or rate.most = 0 then
    return;
  end if;
  if rate.tokens is not null then
    room := floor(rate.tokens + 0.000001)::integer;
    if room < 1 then
      wait_ms := (1 - rate.tokens) * rate.per_ms / rate.most;
    end if;
    return;
  end if;
  select greatest(rate.most - coalesce(sum(s.n), 0), 0)::integer into room from unnest(rate.counts) s (n);
  if room < 1 then
    select extract(epoch from min(s.at) - (rate.clock - rate.span))::double precision * 1000 into wait_ms
    from (select u.at, sum(u.n) over (order by u.at desc, u.i desc) - u.n as later from unnest(rate.starts, rate.counts) with ordinality u (at, n, i)) s
    where s.later < rate.most;
  end if;
end
$$`,
  remove_jobs: `create or replace function {schema}.remove_jobs(targets uuid[], in_states text[] default null, out ids uuid[], out active uuid[], out lanes jsonb, out due_ms double precision, out watched uuid[], out ended jsonb)
language plpgsql volatile
set jit = off set enable_seqscan = off set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
  live record;
  past uuid[];
  resolved record;
begin
  perform from {schema}.jobs where id = any (targets) order by id for update;
  perform from {schema}.keys k where k.job_id = any (targets) order by (k.queue, k.kind, k.key) for update;
  with gone as (delete from {schema}.jobs where id = any (targets) and (in_states is null or state::text = any (in_states)) returning id, state, has_children, watched, queue, concurrency_key is not null or queue_limited as limited)
  select array_agg(id) as ids, array_agg(id) filter (where state = 'active') as active, array_agg(id) filter (where watched) as watched,
    jsonb_agg(distinct jsonb_build_array(queue, 32768, 0)) filter (where state = 'active' and limited) as freed into live from gone;
  with gone as (delete from {schema}.finished_jobs where id = any (targets) and (in_states is null or state::text = any (in_states)) returning id)
  select array_agg(id) into past from gone;
  ids := coalesce(live.ids, '{}') || coalesce(past, '{}');
  active := live.active;
  watched := live.watched;
  if cardinality(ids) = 0 then
    return;
  end if;
  delete from {schema}.keys k where k.job_id = any (ids);
  delete from {schema}.job_dependencies d where d.child_id = any (ids);
  select r.lanes, r.due_ms, r.watched, r.ended into resolved from {schema}.resolve_children(ids, array_fill('removed'::text, array[cardinality(ids)]), null) r;
  lanes := nullif(coalesce(live.freed, '[]') || coalesce(resolved.lanes, '[]'), '[]');
  due_ms := resolved.due_ms;
  ended := resolved.ended;
  watched := coalesce(watched, '{}') || coalesce(resolved.watched, '{}');
end
$$`,
  rescue_jobs: `create or replace function {schema}.rescue_jobs(most integer, orphans boolean, self uuid, out rescued jsonb, out ended jsonb, out workers uuid[], out lanes jsonb, out due_ms double precision, out watched uuid[])
language plpgsql volatile
set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  lost record;
  over_ids uuid[];
  over_errors jsonb[];
  back record;
  ends record;
begin
  select array_agg(w.id) into workers
  from (select id from {schema}.workers where heartbeat_at < now() - lease and id <> self order by id limit 20 for update skip locked) w;
  if orphans then
    select nullif(coalesce(workers, '{}') || coalesce(array_agg(distinct j.worker_id), '{}'), '{}') into workers
    from {schema}.jobs j where j.state = 'active' and not exists (select from {schema}.workers w where w.id = j.worker_id offset 0);
  end if;
  if workers is null then
    return;
  end if;
  select array_agg(x.id) filter (where x.crashes + 1 < x.cap) as again,
    array_agg(x.id) filter (where x.crashes + 1 >= x.cap) as over,
    array_agg(jsonb_build_object('name', 'WorkerLostError', 'message',
      format('Its worker vanished while it ran, for the %s. time; maxCrashes is %s', x.crashes + 1, x.cap))) filter (where x.crashes + 1 >= x.cap) as errors
  into lost
  from (select id, crashes, coalesce({schema}.amount(options -> 'maxCrashes', 1000000)::integer, 5) as cap from {schema}.jobs
        where state = 'active' and worker_id = any (rescue_jobs.workers) order by row(id) limit most for update skip locked) x;
  with returned as (
    update {schema}.jobs j set state = 'waiting', crashes = j.crashes + 1, max_attempts = j.max_attempts + 1,
      attempts = coalesce(j.attempts, '[]') || {schema}.attempt(j.attempt, j.started_at, j.worker_id,
        jsonb_build_object('name', 'WorkerLostError', 'message', 'Its worker vanished')),
      lease = null, worker_id = null, started_at = null, progress = null
    where j.id = any (lost.again) and not j.cancel_requested
    returning j.id, j.queue, j.task, j.attempt, {schema}.lane(j.priority, j.limit_group) as priority, j.seq
  )
  select array_agg(id) as ids, jsonb_agg(jsonb_build_object('id', id, 'queue', queue, 'task', task, 'attempt', attempt)) as jobs, (select jsonb_agg(jsonb_build_array(queue, priority, seq)) from (select queue, priority, min(seq) as seq from returned group by 1, 2) l) as lanes
  into back from returned;
  rescued := back.jobs;
  lanes := back.lanes;
  select coalesce(lost.over, '{}') || coalesce(array_agg(id), '{}'), coalesce(lost.errors, '{}') || coalesce(array_agg(coalesce(error, '{}')), '{}')
  into over_ids, over_errors
  from {schema}.jobs where id = any (lost.again) and cancel_requested;
  if cardinality(over_ids) > 0 then
    select jsonb_agg(jsonb_build_object('id', j.id, 'queue', j.queue, 'task', j.task, 'attempt', j.attempt,
      'state', case when j.cancel_requested then 'cancelled' else 'failed' end, 'error', case when j.cancel_requested then j.error else o.error end))
    into ended from {schema}.jobs j join unnest(over_ids, over_errors) o (id, error) on j.id = any (array[o.id]);
    select coalesce(lanes, '[]') || coalesce(jsonb_agg(distinct jsonb_build_array(queue, 32768, 0)), '[]') into lanes
    from {schema}.jobs where id = any (over_ids) and (concurrency_key is not null or queue_limited);
    update {schema}.jobs set crashes = crashes + 1 where id = any (over_ids);
    select e.lanes, e.due_ms, e.watched, e.ended into ends
    from {schema}.settle(null, over_ids, null, array_fill('failed'::text, array[cardinality(over_ids)]), null, null, over_errors, null) e;
    lanes := nullif(coalesce(lanes, '[]') || coalesce(ends.lanes, '[]'), '[]');
    due_ms := ends.due_ms;
    watched := ends.watched;
    ended := ended || coalesce(ends.ended, '[]');
  end if;
  with gone as (
    delete from {schema}.workers w
    where w.id = any (rescue_jobs.workers) and not exists (select from {schema}.jobs j where j.state = 'active' and j.worker_id = w.id offset 0)
    returning w.id
  )
  select case when rescued is null and ended is null then (select array_agg(g.id) from gone g) else rescue_jobs.workers end into workers;
end
$$`,
  resolve_children: `create or replace function {schema}.resolve_children(parents uuid[], states text[], results jsonb[], out lanes jsonb, out due_ms double precision, out watched uuid[], out ended jsonb)
language plpgsql volatile
set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  freed record;
  doomed record;
  edge record;
  ends record;
begin
  perform from {schema}.jobs where id = any (array(select d.child_id from {schema}.job_dependencies d where d.parent_id = any (resolve_children.parents))) order by id for update;
  for edge in
    select d.child_id, array(select jsonb_array_elements_text(p.path)) as path, coalesce(e.result, '{"$undefined": true}') as value
    from unnest(resolve_children.parents, states, results) e (id, state, result)
    cross join lateral (select * from {schema}.job_dependencies x where x.parent_id = e.id offset 0) d
    cross join jsonb_array_elements(d.paths) p (path)
    where d.paths is not null and (e.state = 'completed' or d.on_failure = 'run')
  loop
    update {schema}.jobs j set args = jsonb_set(j.args, edge.path, edge.value) where j.id = edge.child_id;
  end loop;
  with allowed as (
    delete from {schema}.job_dependencies d using unnest(resolve_children.parents, states) e (id, state)
    where d.parent_id = any (array[e.id]) and (e.state = 'completed' or d.on_failure = 'run')
    returning d.child_id
  ), counted as (
    select child_id, count(*)::integer as n from allowed group by child_id
  ), released as (
    update {schema}.jobs j set
      pending_parents = j.pending_parents - c.n,
      state = (case when j.pending_parents > c.n then 'blocked' when j.run_at > now() then 'delayed' else 'waiting' end)::{schema}.job_state,
      seq = nextval('{schema}.job_seq')
    from counted c where j.id = any (array[c.child_id]) and j.state = 'blocked'
    returning j.queue, {schema}.lane(j.priority, j.limit_group) as priority, j.seq, j.state, j.run_at
  ), by_lane as (
    select queue, priority, min(seq) as seq from released where state = 'waiting' group by queue, priority
  )
  select (select jsonb_agg(jsonb_build_array(queue, priority, seq)) from by_lane) as lanes,
    extract(epoch from min(run_at) filter (where state = 'delayed') - now())::double precision * 1000 as due_ms
  into freed from released;
  lanes := freed.lanes;
  due_ms := freed.due_ms;
  select array_agg(child_id) as ids, array_agg(outcome) as outcomes, array_agg(x.error) as errors,
    jsonb_agg(jsonb_build_object('id', child_id, 'queue', j.queue, 'task', j.task, 'state', outcome, 'error', x.error)) as told
  into doomed
  from (select distinct on (d.child_id) d.child_id,
          case when d.on_failure = 'fail' then 'failed' else 'cancelled' end as outcome,
          jsonb_build_object('name', case when d.on_failure = 'fail' then 'JobFailedError' else 'JobCancelledError' end,
            'message', format('Its parent job %s %s', e.id, case e.state when 'failed' then 'failed' when 'removed' then 'was removed' else 'is ' || e.state end)) as error
        from unnest(resolve_children.parents, states) e (id, state)
        cross join lateral (select * from {schema}.job_dependencies x where x.parent_id = e.id offset 0) d
        where e.state <> 'completed'
          and (d.on_failure in ('fail', 'cancel') or e.state = 'removed' or not exists (select from {schema}.finished_jobs f where f.id = e.id offset 0))
        order by d.child_id, d.on_failure = 'fail' desc) x
  cross join lateral (select * from {schema}.jobs y where y.id = x.child_id offset 0) j;
  if doomed.ids is not null then
    select * into ends from {schema}.settle(null, doomed.ids, null, doomed.outcomes, null, null, doomed.errors, null);
    lanes := nullif(coalesce(lanes, '[]') || coalesce(ends.lanes, '[]'), '[]');
    due_ms := least(due_ms, ends.due_ms);
    watched := ends.watched;
    ended := doomed.told || coalesce(ends.ended, '[]');
  end if;
end
$$`,
  retry_jobs: `create or replace function {schema}.retry_jobs(targets uuid[], out ids uuid[], out lanes jsonb, out watched uuid[], out retried jsonb, out ended jsonb)
language plpgsql volatile
set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  blocked boolean;
  of_edges uuid[];  -- their parents; not \`parents\`, which is a column
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
    update {schema}.jobs j set options = j.options - 'edges', (pending_parents, state) = (
      select count(*)::integer, (case when count(*) > 0 then 'blocked' else 'waiting' end)::{schema}.job_state from {schema}.job_dependencies d where d.child_id = j.id)
    where j.id = any (ids) and j.options ? 'edges';
    update {schema}.jobs j set has_children = true
    where j.id = any (of_edges) and not j.has_children and exists (select from {schema}.job_dependencies d where d.parent_id = j.id offset 0);
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
$$`,
  settle: `create or replace function {schema}.settle(
  worker uuid, ids uuid[], leases bigint[], outcomes text[], delays double precision[], results jsonb[], errors jsonb[], progress jsonb[],
  out settled uuid[], out cancelled jsonb, out watched uuid[], out lanes jsonb, out due_ms double precision, out ended jsonb)
language plpgsql volatile
set plan_cache_mode = 'force_generic_plan' set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set search_path = pg_catalog, pg_temp set extra_float_digits = 1
as $$
#variable_conflict use_column
declare
  goes_on boolean := false;
  any_keyed boolean;
  any_unsaid boolean;
  any_blocked boolean;
  parents uuid[];
  parent_states text[];
  parent_results jsonb[];
  repeats jsonb;
  back record;
  freed record;
  resolved record;
begin
  if 'retry' = any (outcomes) or 'snoozed' = any (outcomes) or 'released' = any (outcomes) then
    goes_on := true;
    perform from {schema}.jobs j where j.id = any (ids) order by j.id for update;
  end if;
  with s as (
    select * from unnest(ids, leases, outcomes, delays, results, errors, progress) s (id, lease, outcome, delay, result, error, last_progress) order by id
  ), gone as (
    delete from {schema}.jobs j using s
    where j.id = any (array[s.id]) and (leases is null or (j.lease = s.lease and j.worker_id = worker))
      and (j.cancel_requested or s.outcome in ('completed', 'failed', 'expired', 'cancelled'))
    returning j.*, s.result, s.last_progress,
      (case when j.cancel_requested then 'cancelled' else s.outcome end)::{schema}.job_state as final,
      j.cancel_requested and s.outcome <> 'cancelled' as overruled,
      case when j.cancel_requested and s.outcome <> 'cancelled' then j.error else s.error end as last_error
  ), kept as (
    insert into {schema}.finished_jobs (id, created_at, started_at, expires_at, run_at, scheduled_for, keep_until, worker_id, attempt, max_attempts,
      crashes, drop_on, state, priority, queue, task, args, headers, options, progress, attempts, result, error, custom_id, concurrency_key, rate_key, parents, dedup_key, dedup_ttl_ms)
    select g.id, g.created_at, g.started_at, g.expires_at, g.run_at, g.scheduled_for,
      case when g.day = 'infinity' then now() + {schema}.amount((coalesce(g.q_keep, '{}') || coalesce(g.options -> 'keep', '{}')) -> case g.final when 'completed' then 'completed' else 'failed' end, 3155760000000) * interval '1 millisecond' end,
      g.worker_id, g.attempt, g.max_attempts, g.crashes, g.day, g.final, g.priority, g.queue, g.task, g.args, g.headers, g.options, coalesce(g.last_progress, g.progress),
      case when g.final <> 'completed' and g.started_at is not null
        then coalesce(g.attempts, '[]') || {schema}.attempt(g.attempt, g.started_at, g.worker_id, g.last_error) else g.attempts end,
      case when g.final = 'completed' then g.result end, g.last_error, g.custom_id, g.concurrency_key, g.rate_key, g.parents, g.dedup_key, g.dedup_ttl_ms
    from (select gone.*, q.keep as q_keep,
            case when gone.final = 'completed' and gone.options -> 'keep' is null and q.keep is null then ((now() + interval '1 day') at time zone 'UTC')::date
                 when gone.final = 'completed' and gone.options -> 'keep' -> 'completed' = 'false' then null
                 else {schema}.drop_on(gone.final, gone.options -> 'keep', q.keep) end as day
          from gone left join {schema}.queues q on q.name = gone.queue) g
    where g.day is not null
  )
  select array_agg(id), jsonb_object_agg(id, last_error) filter (where overruled), array_agg(id) filter (where watched), coalesce(bool_or(keyed), false),
    coalesce(bool_or(keyed and dedup_key is null), false), coalesce(bool_or(pending_parents > 0), false),
    array_agg(id) filter (where has_children), array_agg(final::text) filter (where has_children),
    array_agg(case when final = 'completed' then result end) filter (where has_children),
    jsonb_agg(jsonb_build_object('id', id, 'next', {schema}.uuid_v7(), 'queue', queue, 'task', task, 'priority', priority, 'args', args, 'headers', headers,
        'options', options, 'customId', custom_id, 'concurrencyKey', concurrency_key, 'rateKey', rate_key,
        'key', case when dedup_ttl_ms is null then dedup_key end))
      filter (where final = 'completed' and options ? 'repeat' and {schema}.amount(options -> 'repeat' -> 'everyMs', 0) is not null)
  into settled, cancelled, watched, any_keyed, any_unsaid, any_blocked, parents, parent_states, parent_results, repeats
  from gone;
  if any_keyed then
    update {schema}.keys k set job_id = r.next from jsonb_to_recordset(repeats) r (id uuid, next uuid) where k.job_id = any (array[r.id]) and k.release <> 'time';
    if any_unsaid then
      with released as (
        delete from {schema}.keys k where k.job_id = any (settled) and k.release = 'finish' returning k.job_id, k.key
      )
      update {schema}.finished_jobs f set dedup_key = r.key from released r where f.id = any (array[r.job_id]);
    else
      delete from {schema}.keys k where k.job_id = any (settled) and k.release = 'finish';
    end if;
    update {schema}.keys k set until = case when f.id is null then now() else coalesce(f.keep_until, (f.drop_on + 1)::timestamp at time zone 'UTC') end
    from unnest(settled) e (id) left join {schema}.finished_jobs f on f.id = any (array[e.id])
    where k.job_id = any (array[e.id]) and (k.kind = 'id') is true;
  end if;
  if any_blocked then
    with edges as (
      delete from {schema}.job_dependencies d where d.child_id = any (settled) returning d.*
    ), families as (
      select e.child_id, jsonb_agg(jsonb_build_object('id', e.parent_id, 'onFailure', e.on_failure, 'paths', e.paths)) as edges from edges e group by 1
    )
    update {schema}.finished_jobs f set options = coalesce(f.options, '{}') || jsonb_build_object('edges', x.edges)
    from families x where f.id = any (array[x.child_id]);
  end if;
  if goes_on then
    with s as (
      select * from unnest(ids, leases, outcomes, delays, errors, progress) s (id, lease, outcome, delay, error, last_progress) order by id
    ), returned as (
      update {schema}.jobs j set
        state = (case when s.delay > 0 then 'delayed' else 'waiting' end)::{schema}.job_state,
        run_at = case when s.delay > 0 then now() + s.delay * interval '1 millisecond' end,
        seq = case when s.outcome = 'released' then j.seq else nextval('{schema}.job_seq') end,
        attempt = case when s.outcome = 'retry' then j.attempt else j.attempt - 1 end,
        attempts = case when s.outcome = 'retry' then coalesce(j.attempts, '[]') || {schema}.attempt(j.attempt, j.started_at, j.worker_id, s.error) else j.attempts end,
        error = case when s.outcome = 'retry' then s.error else j.error end,
        progress = case when s.outcome = 'retry' then null else coalesce(s.last_progress, j.progress) end,
        lease = null, worker_id = null, started_at = null
      from s
      where j.id = any (array[s.id]) and j.lease = s.lease and j.worker_id = worker and s.outcome in ('retry', 'snoozed', 'released') and not j.cancel_requested
      returning j.id, j.queue, {schema}.lane(j.priority, j.limit_group) as priority, j.seq, j.state, j.run_at
    ), by_lane as (
      select queue, priority, min(seq) as seq from returned where state = 'waiting' group by queue, priority
    )
    select array_agg(id) as ids, extract(epoch from min(run_at) - now())::double precision * 1000 as due_ms,
      (select jsonb_agg(jsonb_build_array(queue, priority, seq)) from by_lane) as lanes
    into back from returned;
    settled := coalesce(settled, '{}') || coalesce(back.ids, '{}');
    lanes := back.lanes;
    due_ms := back.due_ms;
  end if;
  if repeats is not null then
    select r.lanes, r.due_ms into freed from {schema}.add_repeats(repeats) r;
    lanes := nullif(coalesce(lanes, '[]') || coalesce(freed.lanes, '[]'), '[]');
    due_ms := least(due_ms, freed.due_ms);
  end if;
  if parents is not null then
    select r.lanes, r.due_ms, r.watched, r.ended into resolved from {schema}.resolve_children(parents, parent_states, parent_results) r;
    lanes := nullif(coalesce(lanes, '[]') || coalesce(resolved.lanes, '[]'), '[]');
    due_ms := least(due_ms, resolved.due_ms);
    watched := coalesce(watched, '{}') || coalesce(resolved.watched, '{}');
    ended := resolved.ended;
  end if;
end
$$`,
  snapshots: `create or replace function {schema}.snapshots(ids uuid[])
returns table (id uuid, task text, queue text, state {schema}.job_state, args text, priority smallint, attempt integer, max_attempts integer, attempts jsonb, progress jsonb,
  created_at timestamptz, run_at timestamptz, expires_at timestamptz, started_at timestamptz, finished_at timestamptz, result text, error jsonb, custom_id text,
  headers jsonb, worker_id uuid, parents uuid[], waiting_for uuid[])
language plpgsql stable
set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
begin
  return query
  select j.id, j.task, j.queue, j.state, j.args::text, j.priority, j.attempt, j.max_attempts, j.attempts, j.progress, j.created_at, j.run_at, j.expires_at,
    j.started_at, null::timestamptz, null::text, j.error, j.custom_id, j.headers, j.worker_id, j.parents,
    (select array_agg(d.parent_id) from {schema}.job_dependencies d where d.child_id = j.id)
  from unnest(snapshots.ids) r (id) cross join lateral (select * from {schema}.jobs x where x.id = r.id limit 1) j
  union all
  select f.id, f.task, f.queue, f.state, f.args::text, f.priority, f.attempt, f.max_attempts, f.attempts, f.progress, f.created_at, f.run_at, f.expires_at,
    f.started_at, f.finished_at, f.result::text, f.error, f.custom_id, f.headers, f.worker_id, f.parents, null
  from unnest(snapshots.ids) r (id) cross join lateral (select * from {schema}.finished_jobs x where x.id = r.id limit 1) f;
end
$$`,
  sweep: `create or replace function {schema}.sweep(queues text[]) returns table (queue text, priority integer, seq bigint)
language plpgsql stable
set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
begin
  return query
  with recursive open (name) as materialized (
    select n from unnest(sweep.queues) n where not exists (select from {schema}.queues q where q.name = n and q.paused)
  ), lane (queue, priority, seq) as (
    select f.* from open q
    cross join lateral (
      select j.queue, j.priority, j.seq from {schema}.jobs j where j.state = 'waiting' and j.limit_group is null and j.queue = q.name order by j.priority, j.seq limit 1
    ) f
    union all
    select n.* from lane
    cross join lateral (
      select j.queue, j.priority, j.seq from {schema}.jobs j
      where j.state = 'waiting' and j.limit_group is null and j.queue = lane.queue and j.priority > lane.priority order by j.priority, j.seq limit 1
    ) n
  )
  select lane.queue, lane.priority::integer, lane.seq from lane
  union all
  select q.name, 32768, 0 from open q
  where exists (select from {schema}.jobs j where j.state = 'waiting' and j.limit_group is not null and j.queue = q.name offset 0)
  union all
  select q.name, 32769, 0 from {schema}.queues q where q.name = any (sweep.queues) and (q.concurrency is not null or q.rate_limit is not null)
  union all
  select null, 0, ceil(least(d.delayed, d.expiry, d.schedule))::bigint from {schema}.next_due() d;
end
$$`,
  take_rate: `create or replace function {schema}.take_rate(of_kind text, of_name text, of_key text, rule jsonb, n integer) returns void
language plpgsql volatile
as $$
declare
  rate record;
  until timestamptz;
  left_tokens double precision;
  new_starts timestamptz[];
  new_counts integer[];
  last integer;
begin
  select r.* into rate from {schema}.rate_now(of_kind, of_name, of_key, rule) r;
  if rate.most is null then
    return;
  end if;
  if rate.tokens is not null then
    left_tokens := greatest(rate.tokens - n, 0);
    until := rate.clock + (rate.most - left_tokens) * rate.per_ms / greatest(rate.most, 1) * interval '1 millisecond';
  else
    until := rate.clock + rate.span;
    new_starts := rate.starts;
    new_counts := rate.counts;
    last := cardinality(new_starts);
    if last > 0 and floor(extract(epoch from new_starts[last]) * 200000 / rate.per_ms) = floor(extract(epoch from rate.clock) * 200000 / rate.per_ms) then
      new_starts[last] := rate.clock;
      new_counts[last] := new_counts[last] + n;
    else
      new_starts := new_starts || rate.clock;
      new_counts := new_counts || n;
    end if;
  end if;
  insert into {schema}.rates as r (at, expires_at, tokens, kind, name, key, starts, counts)
  values (rate.clock, until, left_tokens, of_kind, of_name, of_key, new_starts, new_counts)
  on conflict (kind, name, key) do update
  set at = excluded.at, expires_at = excluded.expires_at, tokens = excluded.tokens, starts = excluded.starts, counts = excluded.counts;
end
$$`,
  uuid_v7: `create or replace function {schema}.uuid_v7() returns uuid
language sql volatile parallel safe
as $$
  select encode(
    set_bit(set_bit(
      overlay(decode(replace(gen_random_uuid()::text, '-', ''), 'hex')
        placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6),
      52, 1), 53, 1),
    'hex')::uuid
$$`,
  wake: `create or replace function {schema}.wake(channel text, lanes jsonb, due_ms double precision default null, mark text default null) returns boolean
language plpgsql volatile
as $$
declare
  sender constant text := nullif(split_part(coalesce(mark, ''), ' ', 1), '');
  taker constant uuid := nullif(split_part(coalesce(mark, ''), ' ', 2), '')::uuid;
begin
  if channel is null or pg_notification_queue_usage() > 0.5 then
    return false;
  end if;
  perform {schema}.wake_lane(channel, l ->> 0, (l ->> 1)::integer, (l ->> 2)::bigint, sender, coalesce((l ->> 3)::uuid, taker), coalesce((l ->> 4)::integer, 0))
  from jsonb_array_elements(coalesce(lanes, '[]'::jsonb)) l;
  if due_ms is not null then
    perform {schema}.wake_due(channel, due_ms, sender);
  end if;
  return true;
end
$$`,
  wake_due: `create or replace function {schema}.wake_due(channel text, ms double precision, mark text default null) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  picked record;
begin
  with live as materialized (
    select w.id, w.listens from {schema}.workers w where w.listens is not false and w.heartbeat_at > clock_timestamp() - w.lease
  ), keepers as materialized (
    select l.id from live l where l.listens order by l.id limit 2
  )
  select (select count(pg_notify('pgtusk:' || k.id, json_build_array('d', ceil(ms))::text)) from keepers k) as keepers,
    exists (select from live where listens is null) as old
  into picked;
  if picked.old or picked.keepers = 0 then
    perform pg_notify(channel, (jsonb_build_array('d', ceil(ms)) || case when picked.keepers > 0 then '["+"]'::jsonb else '[]' end
      || case when mark is null then '[]' else jsonb_build_array(mark) end)::text);
  end if;
end
$$`,
  wake_lane: `create or replace function {schema}.wake_lane(channel text, in_queue text, in_priority integer, in_seq bigint, mark text default null, taker uuid default null, level integer default 0) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  first_task text;
  picked record;
begin
  if in_priority <= 32767 then
    select j.task into first_task from {schema}.jobs j
    where j.state = 'waiting' and j.limit_group is null and j.queue = in_queue and j.priority = in_priority::smallint and j.seq >= in_seq order by j.seq limit 1;
  end if;
  with live as materialized (
    select w.id, w.host, w.pid, w.listens from {schema}.workers w
    where in_queue = any (w.queues) and w.listens is not false and w.heartbeat_at > clock_timestamp() - w.lease / 2
      and (first_task is null or first_task = any (w.tasks))
  ), taking as materialized (
    select w.id, w.host, w.pid from {schema}.workers w where w.id = taker and in_queue = any (w.queues) and (first_task is null or first_task = any (w.tasks))
  ), meant as materialized (
    select l.id, l.host, l.pid, row_number() over () = 1 as lead
    from (select * from live where listens and id is distinct from taker and (level > 0 or not exists (select from taking)) order by random() limit 4 ^ least(level, 8)) l
  ), guard as materialized (
    select l.id from live l
    where l.listens and not exists (select from meant m where m.host = l.host and m.pid = l.pid) and not exists (select from taking t where t.host = l.host and t.pid = l.pid)
    order by l.id limit 1
  )
  select (select count(pg_notify('pgtusk:' || m.id, json_build_array('j', in_queue, in_priority, in_seq, level, m.lead)::text)) from meant m) as meant,
    (select count(pg_notify('pgtusk:' || g.id, json_build_array('g', in_queue, in_priority, in_seq)::text)) from guard g) as guards,
    exists (select from taking) as taken, exists (select from live where listens is null) as old
  into picked;
  if picked.old or (picked.meant = 0 and not picked.taken) then
    perform pg_notify(channel, (jsonb_build_array('j', in_queue, in_priority, in_seq) || case when picked.meant > 0 or picked.taken then '["+"]'::jsonb else '[]' end
      || case when mark is null then '[]' else jsonb_build_array(mark) end)::text);
  end if;
end
$$`,
  watch: `create or replace function {schema}.watch(ids uuid[]) returns table (id uuid, marked boolean, queue text, priority integer, seq bigint)
language plpgsql volatile
set plan_cache_mode = force_generic_plan set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
begin
  return query
  with free as materialized (
    select j.id from {schema}.jobs j where j.id = any (watch.ids) and not j.watched order by j.id for no key update skip locked
  ), flagged as (
    update {schema}.jobs j set watched = true where j.id = any (array(select f.id from free f)) returning j.id, j.state, j.queue, {schema}.lane(j.priority, j.limit_group) as priority, j.seq
  )
  select f.id, true, f.queue, f.priority, case when f.state = 'waiting' then f.seq end from flagged f
  union all
  select j.id, j.watched, j.queue, j.priority::integer, null from {schema}.jobs j where j.id = any (watch.ids) and j.id not in (select f.id from free f);
end
$$`,
} as const
