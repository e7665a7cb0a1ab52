-- Records `n` starts under a rate limit, for rate_now. The caller holds the advisory lock of this limit and key.
-- A sliding window keeps instants with their numbers, merged within a two-hundredth of the window into the latest one: so a row stays small whatever
-- the limit, and the window errs on the long side.
create or replace function {schema}.take_rate(of_kind text, of_name text, of_key text, rule jsonb, n integer) returns void
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
$$
