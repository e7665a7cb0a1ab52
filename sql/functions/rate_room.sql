-- How many starts a rate limit allows now, and in how many milliseconds the next one is allowed if none is (null: never, the limit is 0).
create or replace function {schema}.rate_room(of_kind text, of_name text, of_key text, rule jsonb, out room integer, out wait_ms double precision)
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
    -- What rounding takes from a token must not cost a start.
    room := floor(rate.tokens + 0.000001)::integer;
    if room < 1 then
      wait_ms := (1 - rate.tokens) * rate.per_ms / rate.most;
    end if;
    return;
  end if;
  select greatest(rate.most - coalesce(sum(s.n), 0), 0)::integer into room from unnest(rate.counts) s (n);
  if room < 1 then
    -- When those that are left are fewer than the limit.
    select extract(epoch from min(s.at) - (rate.clock - rate.span))::double precision * 1000 into wait_ms
    from (select u.at, sum(u.n) over (order by u.at desc, u.i desc) - u.n as later from unnest(rate.starts, rate.counts) with ordinality u (at, n, i)) s
    where s.later < rate.most;
  end if;
end
$$
