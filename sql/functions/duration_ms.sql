-- Whole milliseconds of a Duration as SQL producers write it: a number is seconds, a string carries its unit ("250ms", "10m", "1d"). The rules are
-- those of src/lib/duration.ts. `field` is what an error calls it; `positive`: no time at all is none.
create or replace function {schema}.duration_ms(value jsonb, field text, positive boolean default false) returns double precision
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
$$
