-- One entry of a job's history of attempts.
create or replace function {schema}.attempt(number integer, started_at timestamptz, worker uuid, error jsonb) returns jsonb
language sql stable
as $$
  select jsonb_build_array(jsonb_build_object('attempt', number, 'startedAt', started_at, 'endedAt', now(), 'worker', worker, 'error', error))
$$
