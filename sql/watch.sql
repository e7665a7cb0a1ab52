-- Somebody waits for the end of the jobs $1: whoever ends one of them will say so. Returns those that are live; the rest have ended, or never were.
-- Sets the flag where it is not set; a settle that holds the row goes first, and then the row is gone from here.
with flagged as (
  update {schema}.jobs set watched = true where id = any ($1::uuid[]) and not watched returning id
)
select id from flagged
union
select id from {schema}.jobs where id = any ($1::uuid[]) and watched
