-- Milliseconds of a Duration as SQL producers write it: a number is seconds, a string carries its unit ("250ms", "10m", "1d").
create or replace function {schema}.duration_ms(value jsonb, field text) returns double precision
language plpgsql immutable
as $$
declare
  parts text[];
  amount double precision;
begin
  if value is null or value = 'null'::jsonb then
    return null;
  end if;
  if jsonb_typeof(value) = 'number' then
    amount := (value #>> '{}')::double precision * 1000;
  elsif jsonb_typeof(value) = 'string' then
    parts := regexp_match(value #>> '{}', '^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)\s*$');
    if parts is not null then
      amount := parts[1]::double precision * case parts[2]
        when 'ms' then 1 when 's' then 1000 when 'm' then 60000 when 'h' then 3600000 when 'd' then 86400000 else 604800000 end;
    end if;
  end if;
  if amount is null or amount < 0 then
    raise exception 'pgtusk: % is %, which is no duration; write seconds as a number (60) or a string with a unit (''500ms'', ''10m'', ''1d'')', field, value
      using errcode = 'PT400';
  end if;
  return amount;
end
$$
