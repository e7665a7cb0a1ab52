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
set plan_cache_mode = 'force_generic_plan' set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  -- How many groups one call looks at.
  furthest constant integer := 256;
  settings record;
  found_group record;
  whole boolean;
  listening boolean;
  number bigint;
  at bigint := coalesce(after, -9223372036854775808);
  stop bigint := coalesce(until, -9223372036854775808);
  wrapped boolean;
  looked integer := 0;
  rest integer := most;
  granted integer;
  allowance integer;
  wait double precision;
  share integer;
  turns integer;
  got integer;
  picked uuid[];
  groups bigint[] := '{}';      -- of each that may start something: its group, null for jobs without limits,
  tasks text[] := '{}';
  concurrency_keys text[] := '{}';
  rate_keys text[] := '{}';
  concurrencies integer[] := '{}';
  rules jsonb[] := '{}';
  going boolean[] := '{}';      --   and whether it may have more
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

  -- 1. The groups that look startable.
  wrapped := at < stop;
  while rest > 0 and not complete and looked < furthest and cardinality(groups) < rest loop
    looked := looked + 1;
    select j.limit_group, j.task, j.concurrency_key, j.rate_key, t.limits -> 'rate' as rule, {schema}.amount(t.limits #> '{concurrency,limit}', 1000000)::integer as concurrency,
      (select count(*)::integer from (select from {schema}.jobs r where r.state = 'active' and r.task = j.task and r.concurrency_key = j.concurrency_key
         limit coalesce({schema}.amount(t.limits #> '{concurrency,limit}', 1000000), 0)::integer) running) as running
    into found_group
    from {schema}.jobs j left join {schema}.tasks t on t.name = j.task
    where j.queue = in_queue and j.state = 'waiting' and j.limit_group is not null and j.limit_group > at
      and j.limit_group <= case when wrapped then stop else 9223372036854775807 end
    order by j.limit_group, j.priority, j.seq limit 1;
    if not found then
      if wrapped then
        complete := true;
        at := stop;
        exit;
      end if;
      wrapped := true;
      at := -9223372036854775808;
      complete := at = stop;
      if whole then
        groups := groups || null::bigint;
        tasks := tasks || null::text;
        concurrency_keys := concurrency_keys || null::text;
        rate_keys := rate_keys || null::text;
        concurrencies := concurrencies || null::integer;
        rules := rules || null::jsonb;
        going := going || true;
      end if;
      continue;
    end if;
    at := found_group.limit_group;
    continue when found_group.task <> all (known);
    if found_group.concurrency_key is null then
      found_group.concurrency := null;
    elsif found_group.running >= found_group.concurrency then
      blocked := true;
      continue;
    end if;
    if found_group.rate_key is null or found_group.rule -> 'limit' is null or found_group.rule -> 'limit' = 'null' then
      found_group.rule := null;
    else
      select r.room, r.wait_ms into allowance, wait from {schema}.rate_room('task', found_group.task, found_group.rate_key, found_group.rule) r;
      if allowance < 1 then
        soonest := least(soonest, wait);
        continue;
      end if;
    end if;
    groups := groups || found_group.limit_group;
    tasks := tasks || found_group.task;
    concurrency_keys := concurrency_keys || found_group.concurrency_key;
    rate_keys := rate_keys || found_group.rate_key;
    concurrencies := concurrencies || found_group.concurrency;
    rules := rules || found_group.rule;
    going := going || true;
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
    select count(*) into turns from unnest(going) g (goes) where g.goes;
    for i in 1 .. cardinality(groups) loop
      continue when not going[i];
      exit when rest <= 0;
      share := ceil(rest::double precision / turns);
      turns := turns - 1;
      allowance := share;
      if concurrencies[i] is not null then
        if not pg_try_advisory_xact_lock(hashtextextended('{schema} concurrency ' || quote_literal(tasks[i]) || quote_literal(concurrency_keys[i]), 0)) then
          contended := true;
          going[i] := false;
          continue;
        end if;
        select least(allowance, concurrencies[i] - count(*)) into allowance
        from (select from {schema}.jobs j where j.state = 'active' and j.task = tasks[i] and j.concurrency_key = concurrency_keys[i] limit concurrencies[i]) running;
        blocked := blocked or allowance < share;
      end if;
      if rules[i] is not null and allowance > 0 then
        if not pg_try_advisory_xact_lock(hashtextextended('{schema} rate ' || quote_literal(tasks[i]) || quote_literal(rate_keys[i]), 0)) then
          contended := true;
          going[i] := false;
          continue;
        end if;
        select least(allowance, r.room), least(soonest, r.wait_ms) into allowance, soonest from {schema}.rate_room('task', tasks[i], rate_keys[i], rules[i]) r;
      end if;
      picked := null;
      if allowance > 0 and groups[i] is not null then
        select array_agg(x.id) into picked
        from (select j.id from {schema}.jobs j
              where j.queue = in_queue and j.state = 'waiting' and j.limit_group is not null and j.limit_group = groups[i] and j.task = tasks[i]
                and j.concurrency_key is not distinct from concurrency_keys[i] and j.rate_key is not distinct from rate_keys[i]
                and (j.expires_at is null or j.expires_at > now())
              order by j.priority, j.seq limit allowance for update skip locked) x;
      elsif allowance > 0 then
        select array_agg(x.id) into picked
        from (select j.id from {schema}.jobs j
              where j.queue = in_queue and j.state = 'waiting' and j.limit_group is null and j.task = any (known) and (j.expires_at is null or j.expires_at > now())
              order by j.priority, j.seq limit allowance for update skip locked) x;
      end if;
      got := coalesce(cardinality(picked), 0);
      if got > 0 then
        return query
        update {schema}.jobs j
        set state = 'active', attempt = j.attempt + 1, started_at = now(), worker_id = worker, lease = number, queue_limited = whole
        where j.id = any (picked)
        returning j.id, j.seq, j.priority, j.lease, j.task, j.attempt, j.max_attempts, j.args, j.options, j.headers,
          date_part('epoch', j.created_at), date_part('epoch', j.scheduled_for), listening, date_part('epoch', j.expires_at - now()) * 1000, null::jsonb;
        if rules[i] is not null then
          perform {schema}.take_rate('task', tasks[i], rate_keys[i], rules[i], got);
          if got = allowance then
            select least(soonest, r.wait_ms) into soonest from {schema}.rate_room('task', tasks[i], rate_keys[i], rules[i]) r;
          end if;
        end if;
      end if;
      rest := rest - got;
      going[i] := got = share;
    end loop;
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
