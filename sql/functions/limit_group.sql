-- The group in which a job takes turns: its task and its keys; null for a job without limits. Whoever stores or changes keys stores this with them.
-- A number, so that the index stays small; two groups that share one by chance wait for each other, and break no limit: the claim compares the keys.
-- Not a generated column: those cost every claim, also of jobs without limits (measured: 300 jobs in 6.7 ms instead of 4.4).
create or replace function {schema}.limit_group(task text, concurrency_key text, rate_key text) returns bigint
language sql immutable
as $$
  select case when concurrency_key is not null or rate_key is not null
    then hashtextextended(quote_literal(task) || ',' || quote_nullable(concurrency_key) || ',' || quote_nullable(rate_key), 0) end
$$
