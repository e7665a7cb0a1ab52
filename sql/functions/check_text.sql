-- A text option: a string, not empty, not too long. Returns it; null stays null.
create or replace function {schema}.check_text(value jsonb, field text, most integer default 255) returns text
language plpgsql immutable
as $$
begin
  if value is not null and (jsonb_typeof(value) <> 'string' or length(value #>> '{}') not between 1 and most) then
    raise exception 'pgtusk: % is %; write a string of 1 to % characters', field, left(value::text, 80), most using errcode = 'PT400';
  end if;
  return value #>> '{}';
end
$$
