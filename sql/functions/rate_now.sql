-- A rate limit and what it has seen, as it stands now; most null: there is no limit.
-- rule: {limit, perMs, strategy}. Whoever is going to take some holds the advisory lock of this limit and key already: then the answer stays true.
-- Token bucket: it holds `most` tokens and gets them back at most / per_ms.
-- Sliding window: at most `most` in any time of the length `span`. A handler begins a few milliseconds after its claim, so that is a little longer than
--   per_ms: 5 % of it, at most 25 ms. starts and counts are those that it still holds, oldest first.
-- Time is the clock's while the lock is held, and never before the latest that was stored: a clock that jumps back frees nothing.
create or replace function {schema}.rate_now(of_kind text, of_name text, of_key text, rule jsonb,
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
$$
