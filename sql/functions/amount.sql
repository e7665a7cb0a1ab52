-- A number as it stands in options, from 0 to `most`; null for anything else. Rows may be written in SQL by anybody: a bad one must not make a
-- statement fail that serves many.
create or replace function {schema}.amount(value jsonb, most double precision) returns double precision
language sql immutable
as $$
  select case when jsonb_typeof(value) = 'number' then least(greatest((value #>> '{}')::numeric, 0), most::numeric)::double precision end
$$
