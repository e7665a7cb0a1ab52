-- Takes up to `most` waiting jobs of a queue for a worker where limits hold: jobs whose tasks have a limit (limit_group), and, in a queue that is
-- limited itself, all. Called for free slots only, never ahead, so that a claim is a start.
--
-- Turns: the groups of the queue are a circle in the order of limit_group; in a limited queue its jobs without limits are one more group, where the
-- circle closes. The worker says where it stands (`after`) and where this round began (`until`). The first `most` groups on its way that look
-- startable share the slots, each as many as the next, and what one leaves the others get. Within a group priority and seq decide.
--
-- Exactness: for each limit of a group there is an advisory lock, held until the commit; under it, in a statement of its own (a new snapshot, and a
-- commit is visible before its locks go), running jobs are counted and the rate is read. Nobody else makes jobs of this key active meanwhile. The locks
-- are only tried for, so there is no order to keep and nobody waits: one that is taken means that somebody claims from this key just now.
--
-- Paused: asked at the beginning, and again in the statements that pick jobs, whose snapshot is a later one. So a job that was stored after a pause had
-- committed is not picked by a claim that began before it.
--
-- Returns the columns of sql/claim.sql, and a last row without a job whose `next` says:
--   at        where the worker stands now;     complete   the round is over: there is nothing to start that this call has not taken
--   blocked   a group (or the queue) is full: the end of a run will change that
--   contended somebody else held a lock;       waitMs     until a rate allows a start
--   whole     the queue itself is limited
-- Its commit waits for the disk: were it forgotten in a crash, its run would go on for a moment beside others of its key.
-- Twice: takes more jobs. Two at once: the locks share out keys, skip locked jobs. Connection dies after the commit: as for every claim, see lost_claims.
-- Uses jobs_claim_limited, jobs_running_key, jobs_running_queue, jobs_claim; the settings hold it to them whatever the statistics say.
create or replace function {schema}.claim_limited(in_queue text, most integer, worker uuid, known text[], after bigint, until bigint)
returns table (id uuid, seq bigint, priority smallint, lease bigint, task text, attempt integer, max_attempts integer, args jsonb, options jsonb, headers jsonb,
  created_at double precision, scheduled_for double precision, subscribed boolean, ttl double precision, next jsonb)
language plpgsql volatile
set plan_cache_mode = 'force_generic_plan' set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  -- How many groups one call looks at.
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

  -- 1. The groups that look startable: the next ones on the circle at once, again while too few of them are.
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
      -- A subselect, not a join, so that the function is called for those alone that have a rate.
      select c.*, (select array[m.room, m.wait_ms] from {schema}.rate_room('task', c.task, c.rate_key, c.rule) m
        where c.rule is not null and c.ours and c.is_full is not true) as room
      from counted c
    ), startable as (
      select l.*, l.ours and l.is_full is not true and coalesce(l.room[1] >= 1, true) as may from looks l
    )
    -- All in one order, that of the circle.
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
    -- The circle's end, or this round's.
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

  -- 2. They share the slots.
  if cardinality(groups) > 0 then
    if not exists (select from {schema}.epoch e where e.server_started_at = pg_postmaster_start_time()) then
      perform {schema}.begin_epoch();
    end if;
    number := nextval('{schema}.lease_seq');
    listening := exists (select from {schema}.subscribers s where s.expires_at > now());
  end if;
  while rest > 0 and true = any (going) loop
    -- Each as many as the next; where that does not come out even, the first ones one more. And the locks of those that get any.
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
    -- What each may take. Groups may have a limit in common: one key of concurrency, or of a rate, but not both. They take from it one after the other:
    -- what those before may take is not there for those behind; should it be left, they get it in another turn.
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
    -- A group that got its share may have more, one that was behind others too; the others have no jobs left, or no room.
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

  -- 3. What that means for the queue's own limits.
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
$$
