-- For triggers, psql and other languages: stores one job, in the caller's transaction, and returns its id (the owner's, for a taken id or key).
--   select tusk.enqueue('emails.send', '["a@b.c", "Hi"]');
--   select tusk.enqueue('emails.send', '["a@b.c"]', '{"delay": "5m", "priority": 3, "retries": 2, "queue": "mail", "deduplicate": {"key": "a@b.c", "ttl": 60}}');
-- options has the keys of EnqueueOptions; what is left out comes from what workers publish of the task, then from the stock defaults.
-- Values that JSON cannot say stand as {"$date": "..."}, {"$bigint": "..."}, {"$bytes": "base64"}.
create or replace function {schema}.enqueue(task text, args jsonb default '[]', options jsonb default '{}') returns uuid
language plpgsql volatile
as $$
declare
  o jsonb := coalesce(options, '{}');
  unknown text;
  draft jsonb;
  dedup jsonb := o -> 'deduplicate';
  keep jsonb;
  added uuid;
begin
  if task is null or task = '' then
    raise exception 'pgtusk: enqueue needs the name of a task' using errcode = 'PT400';
  end if;
  if jsonb_typeof(args) is distinct from 'array' then
    raise exception 'pgtusk: the arguments of task % are %; write a JSON array, one element an argument', task, args using errcode = 'PT400';
  end if;
  if jsonb_typeof(o) <> 'object' then
    raise exception 'pgtusk: the options of task % are %; write a JSON object', task, o using errcode = 'PT400';
  end if;
  select k into unknown from jsonb_object_keys(o) k
  where k <> all (array['queue', 'retries', 'backoff', 'ttl', 'timeout', 'priority', 'keep', 'delay', 'dependsOn', 'onParentFailure', 'repeatEvery', 'id', 'deduplicate', 'headers', 'wake']) limit 1;
  if unknown is not null then
    raise exception 'pgtusk: "%" is no option of a job (task %); known are queue, retries, backoff, ttl, timeout, priority, keep, delay, dependsOn, onParentFailure, repeatEvery, id, deduplicate, headers, wake', unknown, task
      using errcode = 'PT400';
  end if;
  if o ? 'retries' and not (jsonb_typeof(o -> 'retries') = 'number' and (o ->> 'retries')::numeric between 0 and 32767 and (o ->> 'retries')::numeric % 1 = 0) then
    raise exception 'pgtusk: retries of task % is %; write a whole number from 0 to 32767', task, o -> 'retries' using errcode = 'PT400';
  end if;
  if o ? 'priority' and not (jsonb_typeof(o -> 'priority') = 'number' and (o ->> 'priority')::numeric between -32768 and 32767 and (o ->> 'priority')::numeric % 1 = 0) then
    raise exception 'pgtusk: priority of task % is %; write a whole number from -32768 to 32767 (lower runs first)', task, o -> 'priority' using errcode = 'PT400';
  end if;
  if o ? 'id' and (o ->> 'id' = '' or o ->> 'id' ~ '^\d+$' or o ->> 'id' like '%:%') then
    raise exception 'pgtusk: the custom id % of task % must not be empty, digits only, or contain ":"', o -> 'id', task using errcode = 'PT400';
  end if;
  if jsonb_typeof(dedup) = 'string' then
    dedup := jsonb_build_object('key', dedup #>> '{}');
  end if;
  if dedup is not null and coalesce(dedup ->> 'key', '') = '' then
    raise exception 'pgtusk: deduplicate of task % is %; write a key, or {"key": "...", "ttl": 60}', task, dedup using errcode = 'PT400';
  end if;
  select jsonb_object_agg(k, case when v = 'false' then v else to_jsonb({schema}.duration_ms(v, 'keep.' || k)) end) into keep from jsonb_each(o -> 'keep') e (k, v);
  draft := jsonb_strip_nulls(jsonb_build_object(
    'id', {schema}.uuid_v7(), 'task', task, 'local', false, 'queue', o -> 'queue', 'priority', o -> 'priority',
    'maxAttempts', (o ->> 'retries')::integer + 1,
    'delayMs', {schema}.duration_ms(case when o ->> 'delay' ~ '^\d{4}-' then null else o -> 'delay' end, 'delay'),
    'runAt', case when o ->> 'delay' ~ '^\d{4}-' then o -> 'delay' end,
    'ttlMs', {schema}.duration_ms(o -> 'ttl', 'ttl'), 'headers', o -> 'headers', 'customId', o -> 'id',
    'key', case when dedup is not null then jsonb_build_object('key', dedup ->> 'key', 'ttlMs', {schema}.duration_ms(dedup -> 'ttl', 'deduplicate.ttl'),
      'replace', dedup -> 'replace', 'extend', dedup -> 'extend') end,
    'parents', (select jsonb_agg(case when jsonb_typeof(p) = 'string' then jsonb_build_object('id', p, 'onFailure', coalesce(o ->> 'onParentFailure', 'block'))
        else jsonb_build_object('id', p -> 'job', 'onFailure', coalesce(p ->> 'onFailure', o ->> 'onParentFailure', 'block')) end) from jsonb_array_elements(o -> 'dependsOn') p),
    'options', nullif(jsonb_strip_nulls(jsonb_build_object('backoff', o -> 'backoff', 'timeoutMs', {schema}.duration_ms(o -> 'timeout', 'timeout'), 'keep', keep,
      'repeat', case when o ? 'repeatEvery' then jsonb_build_object('everyMs', {schema}.duration_ms(o -> 'repeatEvery', 'repeatEvery'),
        'ttlMs', {schema}.duration_ms(o -> 'ttl', 'ttl'), 'maxAttempts', coalesce((o ->> 'retries')::integer, 0) + 1) end)), '{}')))
    || jsonb_build_object('args', args);
  select a.id into added from {schema}.add_jobs(jsonb_build_array(draft), case when o ->> 'wake' = 'poll' then null else '{channel}' end) a where a.ord = 1;
  return added;
end
$$
