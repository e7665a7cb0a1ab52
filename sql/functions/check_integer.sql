-- An option that is a whole number within its range. Returns it; null stays null.
create or replace function {schema}.check_integer(value jsonb, field text, low integer, high integer, meaning text) returns integer
language plpgsql immutable
as $$
begin
  if value is null then
    return null;
  end if;
  if jsonb_typeof(value) = 'number' then
    if (value #>> '{}')::numeric between low and high and (value #>> '{}')::numeric % 1 = 0 then
      return (value #>> '{}')::numeric::integer;
    end if;
  end if;
  raise exception 'pgtusk: % is %; write a whole number from % to % (%)', field, left(value::text, 80), low, high, meaning using errcode = 'PT400';
end
$$
