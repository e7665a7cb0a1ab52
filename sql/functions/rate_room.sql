-- How many starts a rate limit allows now, and in how many milliseconds the next one is allowed if none is (null: never, the limit is 0).
-- rule: {limit, perMs, strategy}. Whoever is going to take some holds the advisory lock of this limit and key already: then the answer stays true.
-- Sliding window: at most `limit` in any time of that length. A handler begins a few milliseconds after its claim, so the window is a little
--   longer: 5 % of it, at most 25 ms.
-- Token bucket: it holds `limit` tokens and gets them back at limit / per.
-- Time is the clock's while the lock is held, and never before the latest that was stored: a clock that jumps back frees nothing.
create or replace function {schema}.rate_room(of_kind text, of_name text, of_key text, rule jsonb, out room integer, out wait_ms double precision)
language plpgsql volatile
as $$
declare
  most constant double precision := {schema}.amount(rule -> 'limit', 1000000000);
  per constant double precision := greatest({schema}.amount(rule -> 'perMs', 3155760000000), 1);
  past record;
  clock timestamptz;
  since timestamptz;
  tokens double precision;
begin
  room := most::integer;
  if most is null or most = 0 then
    return;
  end if;
  select r.at, r.tokens, r.starts, r.counts into past from {schema}.rates r where r.kind = of_kind and r.name = of_name and r.key = of_key;
  if not found then
    return;
  end if;
  clock := greatest(clock_timestamp(), past.at);
  if rule ->> 'strategy' = 'token-bucket' then
    tokens := least(most, coalesce(past.tokens, most) + extract(epoch from clock - past.at)::double precision * 1000 * most / per);
    -- What rounding takes from a token must not cost a start.
    room := floor(tokens + 0.000001)::integer;
    if room < 1 then
      wait_ms := (1 - tokens) * per / most;
    end if;
    return;
  end if;
  since := clock - (per + least(per * 0.05, 25)) * interval '1 millisecond';
  select greatest(most - coalesce(sum(s.n), 0), 0)::integer into room from unnest(past.starts, past.counts) s (at, n) where s.at > since;
  if room < 1 then
    -- When those that are left are fewer than the limit.
    select extract(epoch from min(s.at) - since)::double precision * 1000 into wait_ms
    from (select u.at, sum(u.n) over (order by u.at desc, u.i desc) - u.n as later from unnest(past.starts, past.counts) with ordinality u (at, n, i)) s
    where s.later < most and s.at > since;
  end if;
end
$$
