-- A time-ordered uuid (RFC 9562, version 7) for jobs that the database itself makes: SQL producers, repeats, schedules.
create or replace function {schema}.uuid_v7() returns uuid
language sql volatile parallel safe
as $$
  select encode(
    set_bit(set_bit(
      overlay(decode(replace(gen_random_uuid()::text, '-', ''), 'hex')
        placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6),
      52, 1), 53, 1),
    'hex')::uuid
$$
