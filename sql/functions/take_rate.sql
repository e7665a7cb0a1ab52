-- Records `n` starts under a rate limit, for rate_room. The caller holds the advisory lock of this limit and key.
-- A sliding window keeps instants with their numbers, merged within a two-hundredth of the window into the latest one: so a row stays small whatever
-- the limit, and the window errs on the long side.
create or replace function {schema}.take_rate(of_kind text, of_name text, of_key text, rule jsonb, n integer) returns void
language plpgsql volatile
as $$
declare
  most constant double precision := {schema}.amount(rule -> 'limit', 1000000000);
  per constant double precision := greatest({schema}.amount(rule -> 'perMs', 3155760000000), 1);
  past record;
  clock timestamptz;
  until timestamptz;
  left_tokens double precision;
  new_starts timestamptz[];
  new_counts integer[];
  last integer;
begin
  if most is null then
    return;
  end if;
  select r.at, r.tokens, r.starts, r.counts into past from {schema}.rates r where r.kind = of_kind and r.name = of_name and r.key = of_key;
  clock := greatest(clock_timestamp(), past.at);
  if rule ->> 'strategy' = 'token-bucket' then
    left_tokens := greatest(least(most, coalesce(past.tokens + extract(epoch from clock - past.at)::double precision * 1000 * most / per, most)) - n, 0);
    until := clock + (most - left_tokens) * per / greatest(most, 1) * interval '1 millisecond';
  else
    until := clock + (per + least(per * 0.05, 25)) * interval '1 millisecond';
    select coalesce(array_agg(s.at order by s.i), '{}'), coalesce(array_agg(s.n order by s.i), '{}') into new_starts, new_counts
    from unnest(past.starts, past.counts) with ordinality s (at, n, i) where s.at > clock - (until - clock);
    last := cardinality(new_starts);
    if last > 0 and floor(extract(epoch from new_starts[last]) * 200000 / per) = floor(extract(epoch from clock) * 200000 / per) then
      new_starts[last] := clock;
      new_counts[last] := new_counts[last] + n;
    else
      new_starts := new_starts || clock;
      new_counts := new_counts || n;
    end if;
  end if;
  insert into {schema}.rates as r (at, expires_at, tokens, kind, name, key, starts, counts)
  values (clock, until, left_tokens, of_kind, of_name, of_key, new_starts, new_counts)
  on conflict (kind, name, key) do update
  set at = excluded.at, expires_at = excluded.expires_at, tokens = excluded.tokens, starts = excluded.starts, counts = excluded.counts;
end
$$
