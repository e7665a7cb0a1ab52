-- The option backoff: a base, {"base", "first", "max", "jitter"}, {"fixed", "jitter"} or {"steps"}. Returns it as it is; null stays null.
-- Numbers are compared as jsonb, which needs no cast that could fail.
create or replace function {schema}.check_backoff(value jsonb, field text) returns jsonb
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
$$
