-- An option that is an object: refuses other values, and keys that are not known.
create or replace function {schema}.check_keys(value jsonb, field text, known text[]) returns void
language plpgsql immutable
as $$
declare
  unknown text;
begin
  if jsonb_typeof(value) is distinct from 'object' then
    raise exception 'pgtusk: % is %; write a JSON object with %', field, coalesce(left(value::text, 80), 'null'), array_to_string(known, ', ') using errcode = 'PT400';
  end if;
  select k into unknown from jsonb_object_keys(value) k where k <> all (known) order by k limit 1;
  if unknown is not null then
    raise exception 'pgtusk: "%" is unknown in %; known are %', unknown, field, array_to_string(known, ', ') using errcode = 'PT400';
  end if;
end
$$
