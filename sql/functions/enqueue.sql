-- For triggers, psql and other languages: stores one job, in the caller's transaction, and returns its id (the owner's, for a taken id or key).
--   select tusk.enqueue('emails.send', '["a@b.c", "Hi"]');
--   select tusk.enqueue('emails.send', '["a@b.c"]', '{"delay": "5m", "priority": 3, "retries": 2, "queue": "mail", "deduplicate": {"key": "a@b.c", "ttl": 60}}');
-- options has the keys of EnqueueOptions and their rules; what is left out, or null, comes from what workers publish of the task, then from the
-- stock defaults. delay may also be an instant ("2026-01-01T00:00:00Z"). Wrong ones are errors (PT400; PT404 for an unknown parent).
-- Values that JSON cannot say stand as {"$date": "..."}, {"$bigint": "..."}, {"$bytes": "base64"}.
create or replace function {schema}.enqueue(task text, args jsonb default '[]', options jsonb default '{}') returns uuid
language plpgsql volatile
set search_path = pg_catalog, pg_temp set extra_float_digits = 1
as $$
declare
  known constant text[] := array['queue', 'retries', 'backoff', 'ttl', 'timeout', 'priority', 'keep', 'delay', 'dependsOn', 'onParentFailure', 'repeatEvery', 'id', 'deduplicate', 'headers', 'wake', 'concurrencyKey', 'rateLimitKey'];
  failures constant text[] := array['block', 'fail', 'cancel', 'run'];
  o jsonb;
  whose text;
  dedup jsonb;
  policy text;
  due timestamptz;
  keep jsonb;
  retries integer;
  parents jsonb;
  parent jsonb;
  added uuid;
begin
  perform {schema}.check_text(to_jsonb(coalesce(task, '')), 'the name of a task');
  whose := format('of a job of task "%s"', task);
  if jsonb_typeof(args) is distinct from 'array' then
    raise exception 'pgtusk: the arguments % are %; write a JSON array, one element an argument', whose, coalesce(left(args::text, 80), 'null') using errcode = 'PT400';
  end if;
  perform {schema}.check_keys(coalesce(options, '{}'), 'the options ' || whose, known);
  select coalesce(jsonb_object_agg(k, v), '{}') into o from jsonb_each(options) e (k, v) where v <> 'null';

  retries := {schema}.check_integer(o -> 'retries', 'retries ' || whose, 0, 32767, 'extra runs after the first');
  if {schema}.check_text(o -> 'id', 'id ' || whose) ~ '^[0-9]+$|:' then
    raise exception 'pgtusk: id % is %; write one that is not made of digits only and holds no ":"', whose, o -> 'id' using errcode = 'PT400';
  end if;
  if {schema}.check_text(o -> 'onParentFailure', 'onParentFailure ' || whose) <> all (failures) then
    raise exception 'pgtusk: onParentFailure % is %; write one of %', whose, o -> 'onParentFailure', array_to_string(failures, ', ') using errcode = 'PT400';
  end if;
  if {schema}.check_text(o -> 'wake', 'wake ' || whose) not in ('now', 'poll') then
    raise exception 'pgtusk: wake % is %; write "now" or "poll"', whose, o -> 'wake' using errcode = 'PT400';
  end if;

  if jsonb_typeof(o -> 'delay') = 'string' and o ->> 'delay' ~ '^[0-9]{4}-' then
    begin
      due := (o ->> 'delay')::timestamptz;
    exception when others then
      raise exception 'pgtusk: delay % is %, which is no instant; write it as "2026-01-01T00:00:00Z", or a duration ("5m")', whose, o -> 'delay' using errcode = 'PT400';
    end;
    o := o - 'delay';
  end if;

  if o ? 'keep' then
    perform {schema}.check_keys(o -> 'keep', 'keep ' || whose, array['completed', 'failed']);
    select jsonb_object_agg(k, case when v = 'false' then v else to_jsonb({schema}.duration_ms(v, format('%s of keep %s', k, whose))) end) into keep
    from jsonb_each(o -> 'keep') e (k, v) where v <> 'null';
  end if;

  if o ? 'headers' then
    if jsonb_typeof(o -> 'headers') <> 'object' or exists (select from jsonb_each(case when jsonb_typeof(o -> 'headers') = 'object' then o -> 'headers' else '{}' end) e (k, v) where jsonb_typeof(v) <> 'string') then
      raise exception 'pgtusk: headers % are %; write strings by name: {"trace-id": "4f2a"}', whose, left((o -> 'headers')::text, 80) using errcode = 'PT400';
    end if;
  end if;

  if o ? 'deduplicate' then
    dedup := case when jsonb_typeof(o -> 'deduplicate') = 'string' then jsonb_build_object('key', o -> 'deduplicate') else o -> 'deduplicate' end;
    perform {schema}.check_keys(dedup, 'deduplicate ' || whose, array['key', 'ttl', 'replace', 'extend']);
    perform {schema}.check_text(coalesce(dedup -> 'key', 'null'), 'key of deduplicate ' || whose, 1000);
    if octet_length(dedup ->> 'key') > 1000 then
      raise exception 'pgtusk: key of deduplicate % has % bytes; write at most 1000, or a hash of it', whose, octet_length(dedup ->> 'key') using errcode = 'PT400';
    end if;
    if exists (select from jsonb_each(dedup) e (k, v) where k in ('replace', 'extend') and jsonb_typeof(v) not in ('boolean', 'null')) then
      raise exception 'pgtusk: deduplicate % is %; write true or false for replace and extend', whose, left(dedup::text, 80) using errcode = 'PT400';
    end if;
    if dedup -> 'extend' = 'true' and coalesce(dedup -> 'ttl', 'null') = 'null' then
      raise exception 'pgtusk: extend of deduplicate % needs a time to extend; add a ttl', whose using errcode = 'PT400';
    end if;
    dedup := jsonb_strip_nulls(dedup || jsonb_build_object('ttlMs', {schema}.duration_ms(nullif(dedup -> 'ttl', 'null'), 'ttl of deduplicate ' || whose, true)));
  end if;

  if greatest(octet_length({schema}.check_text(o -> 'concurrencyKey', 'concurrencyKey ' || whose, 1000)),
      octet_length({schema}.check_text(o -> 'rateLimitKey', 'rateLimitKey ' || whose, 1000))) > 1000 then
    raise exception 'pgtusk: concurrencyKey and rateLimitKey % may have 1000 bytes each; write less, or a hash', whose using errcode = 'PT400';
  end if;

  if o ? 'dependsOn' then
    if jsonb_typeof(o -> 'dependsOn') <> 'array' then
      raise exception 'pgtusk: dependsOn % is %; write a JSON array of jobs'' ids', whose, left((o -> 'dependsOn')::text, 80) using errcode = 'PT400';
    end if;
    parents := '[]';
    for parent in select jsonb_array_elements(o -> 'dependsOn') loop
      if jsonb_typeof(parent) = 'object' then
        perform {schema}.check_keys(parent, 'an element of dependsOn ' || whose, array['job', 'onFailure']);
      else
        parent := jsonb_build_object('job', parent);
      end if;
      policy := coalesce({schema}.check_text(parent -> 'onFailure', 'onFailure in dependsOn ' || whose), o ->> 'onParentFailure', 'block');
      if policy <> all (failures) then
        raise exception 'pgtusk: onFailure in dependsOn % is "%"; write one of %', whose, policy, array_to_string(failures, ', ') using errcode = 'PT400';
      end if;
      if coalesce(parent ->> 'job', '') !~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then
        raise exception 'pgtusk: a parent in dependsOn % is %, which is no job''s id', whose, coalesce(left((parent -> 'job')::text, 80), 'null') using errcode = 'PT404';
      end if;
      parents := parents || jsonb_build_object('id', parent -> 'job', 'onFailure', policy);
    end loop;
  end if;

  select a.id into added
  from {schema}.add_jobs(jsonb_build_array(jsonb_strip_nulls(jsonb_build_object(
      'id', {schema}.uuid_v7(), 'task', task, 'local', false, 'queue', {schema}.check_text(o -> 'queue', 'queue ' || whose),
      'priority', {schema}.check_integer(o -> 'priority', 'priority ' || whose, -32768, 32767, 'lower runs first'), 'maxAttempts', retries + 1,
      'delayMs', {schema}.duration_ms(o -> 'delay', 'delay ' || whose), 'runAt', due, 'ttlMs', {schema}.duration_ms(o -> 'ttl', 'ttl ' || whose, true),
      'customId', o -> 'id', 'key', dedup, 'concurrencyKey', o -> 'concurrencyKey', 'rateKey', o -> 'rateLimitKey', 'parents', nullif(parents, '[]'),
      'options', nullif(jsonb_strip_nulls(jsonb_build_object(
        'backoff', {schema}.check_backoff(o -> 'backoff', 'backoff ' || whose), 'timeoutMs', {schema}.duration_ms(o -> 'timeout', 'timeout ' || whose, true), 'keep', keep,
        'repeat', case when o ? 'repeatEvery' then jsonb_build_object('everyMs', {schema}.duration_ms(o -> 'repeatEvery', 'repeatEvery ' || whose, true)) end)), '{}')
    )) || jsonb_build_object('args', args, 'headers', o -> 'headers')), case when o ->> 'wake' = 'poll' then null else '{channel}' end) a
  where a.ord = 1;
  return added;
end
$$
