-- The lane that a hint names for a job: its priority, or 32768, the lane of all jobs of a queue whose tasks have limits (LIMITED_LANE in
-- src/postgres/notify/wake.ts). No priority goes so far.
create or replace function {schema}.lane(priority smallint, limit_group bigint) returns integer
language sql immutable
as $$
  select case when limit_group is null then priority else 32768 end
$$
