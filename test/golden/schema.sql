create type tusk.job_state as enum ('waiting', 'delayed', 'blocked', 'active', 'completed', 'failed', 'expired', 'cancelled');

create sequence tusk.flush_seq as bigint start 1 increment 1 minvalue 1 maxvalue 9223372036854775807 cache 1;

create sequence tusk.job_seq as bigint start 1 increment 1 minvalue 1 maxvalue 9223372036854775807 cache 1;

create sequence tusk.lease_seq as bigint start 1 increment 1 minvalue 1 maxvalue 9223372036854775807 cache 1;

create unlogged table tusk.epoch (
  server_started_at timestamp with time zone not null default pg_postmaster_start_time(),
  one boolean not null default true,
  constraint epoch_one_check CHECK (one),
  constraint epoch_pkey PRIMARY KEY (one)
);

create table tusk.finished_jobs (
  id uuid not null,
  finished_at timestamp with time zone not null default now(),
  created_at timestamp with time zone not null,
  started_at timestamp with time zone,
  expires_at timestamp with time zone,
  run_at timestamp with time zone,
  scheduled_for timestamp with time zone,
  keep_until timestamp with time zone,
  worker_id uuid,
  attempt integer not null,
  max_attempts integer not null,
  crashes integer not null,
  drop_on date not null,
  state tusk.job_state not null,
  priority smallint not null,
  queue text not null,
  task text not null,
  args jsonb not null,
  headers jsonb,
  options jsonb,
  progress jsonb,
  attempts jsonb,
  result jsonb,
  error jsonb,
  custom_id text,
  concurrency_key text,
  rate_key text,
  parents uuid[],
  dedup_key text,
  dedup_ttl_ms double precision
) partition by RANGE (drop_on);
CREATE INDEX finished_jobs_dead ON ONLY tusk.finished_jobs USING btree (queue, finished_at) WHERE (state = ANY (ARRAY['failed'::tusk.job_state, 'expired'::tusk.job_state]));
CREATE INDEX finished_jobs_finished_at ON ONLY tusk.finished_jobs USING brin (finished_at);
CREATE INDEX finished_jobs_id ON ONLY tusk.finished_jobs USING btree (id);

create table tusk.finished_jobs_long partition of tusk.finished_jobs (
  id uuid not null,
  finished_at timestamp with time zone not null default now(),
  created_at timestamp with time zone not null,
  started_at timestamp with time zone,
  expires_at timestamp with time zone,
  run_at timestamp with time zone,
  scheduled_for timestamp with time zone,
  keep_until timestamp with time zone,
  worker_id uuid,
  attempt integer not null,
  max_attempts integer not null,
  crashes integer not null,
  drop_on date not null,
  state tusk.job_state not null,
  priority smallint not null,
  queue text not null,
  task text not null,
  args jsonb not null,
  headers jsonb,
  options jsonb,
  progress jsonb,
  attempts jsonb,
  result jsonb,
  error jsonb,
  custom_id text,
  concurrency_key text,
  rate_key text,
  parents uuid[],
  dedup_key text,
  dedup_ttl_ms double precision
) FOR VALUES FROM ('infinity') TO (MAXVALUE);
CREATE INDEX finished_jobs_long_finished_at_idx ON tusk.finished_jobs_long USING brin (finished_at);
CREATE INDEX finished_jobs_long_id_idx ON tusk.finished_jobs_long USING btree (id);
CREATE INDEX finished_jobs_long_keep_until ON tusk.finished_jobs_long USING btree (keep_until);
CREATE INDEX finished_jobs_long_queue_finished_at_idx ON tusk.finished_jobs_long USING btree (queue, finished_at) WHERE (state = ANY (ARRAY['failed'::tusk.job_state, 'expired'::tusk.job_state]));

create table tusk.job_dependencies (
  parent_id uuid not null,
  child_id uuid not null,
  on_failure text not null,
  paths jsonb,
  constraint job_dependencies_on_failure_check CHECK ((on_failure = ANY (ARRAY['block'::text, 'fail'::text, 'cancel'::text, 'run'::text]))),
  constraint job_dependencies_pkey PRIMARY KEY (parent_id, child_id)
);
CREATE INDEX job_dependencies_child ON tusk.job_dependencies USING btree (child_id);

create table tusk.jobs (
  id uuid not null,
  seq bigint not null default nextval('tusk.job_seq'::regclass),
  lease bigint,
  run_at timestamp with time zone,
  expires_at timestamp with time zone,
  created_at timestamp with time zone not null default now(),
  started_at timestamp with time zone,
  scheduled_for timestamp with time zone,
  worker_id uuid,
  limit_group bigint,
  attempt integer not null default 0,
  max_attempts integer not null default 1,
  crashes integer not null default 0,
  pending_parents integer not null default 0,
  state tusk.job_state not null default 'waiting'::tusk.job_state,
  priority smallint not null default 5,
  has_children boolean not null default false,
  keyed boolean not null default false,
  watched boolean not null default false,
  cancel_requested boolean not null default false,
  queue_limited boolean not null default false,
  queue text not null,
  task text not null,
  args jsonb not null,
  headers jsonb,
  options jsonb,
  progress jsonb,
  attempts jsonb,
  error jsonb,
  custom_id text,
  concurrency_key text,
  rate_key text,
  parents uuid[],
  dedup_key text,
  dedup_ttl_ms double precision,
  constraint jobs_pkey PRIMARY KEY (id)
) with (autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=2000, autovacuum_vacuum_insert_scale_factor=0, autovacuum_vacuum_insert_threshold=100000, autovacuum_analyze_scale_factor=0, autovacuum_analyze_threshold=10000);
CREATE INDEX jobs_claim ON tusk.jobs USING btree (queue, priority, seq) WHERE ((state = 'waiting'::tusk.job_state) AND (limit_group IS NULL));
CREATE INDEX jobs_claim_limited ON tusk.jobs USING btree (queue, limit_group, priority, seq) WHERE ((state = 'waiting'::tusk.job_state) AND (limit_group IS NOT NULL));
CREATE INDEX jobs_due ON tusk.jobs USING btree (run_at) WHERE (state = 'delayed'::tusk.job_state);
CREATE INDEX jobs_expiry ON tusk.jobs USING btree (expires_at) WHERE ((state <> 'active'::tusk.job_state) AND (expires_at IS NOT NULL));
CREATE INDEX jobs_leased ON tusk.jobs USING btree (worker_id) WHERE (state = 'active'::tusk.job_state);
CREATE INDEX jobs_running_key ON tusk.jobs USING btree (task, concurrency_key) WHERE ((state = 'active'::tusk.job_state) AND (concurrency_key IS NOT NULL));
CREATE INDEX jobs_running_queue ON tusk.jobs USING btree (queue) WHERE ((state = 'active'::tusk.job_state) AND queue_limited);

create table tusk.keys (
  job_id uuid not null,
  until timestamp with time zone,
  queue text not null,
  kind text not null,
  key text not null,
  release text not null,
  constraint keys_kind_check CHECK ((kind = ANY (ARRAY['id'::text, 'key'::text]))),
  constraint keys_pkey PRIMARY KEY (queue, kind, key),
  constraint keys_release_check CHECK ((release = ANY (ARRAY['removal'::text, 'finish'::text, 'time'::text])))
);
CREATE INDEX keys_job ON tusk.keys USING btree (job_id);
CREATE INDEX keys_until ON tusk.keys USING btree (until) WHERE (until IS NOT NULL);

create table tusk.meta (
  version integer not null,
  min_version integer not null
);

create table tusk.migration (
  name character varying(255) not null,
  timestamp character varying(255) not null,
  constraint migration_pkey PRIMARY KEY (name)
);

create table tusk.migration_lock (
  id character varying(255) not null,
  is_locked integer not null default 0,
  constraint migration_lock_pkey PRIMARY KEY (id)
);

create table tusk.queues (
  name text not null,
  paused boolean not null default false,
  concurrency integer,
  rate_limit jsonb,
  keep jsonb,
  created_at timestamp with time zone not null default now(),
  updated_at timestamp with time zone not null default now(),
  constraint queues_pkey PRIMARY KEY (name)
);

create table tusk.rates (
  at timestamp with time zone not null,
  expires_at timestamp with time zone not null,
  tokens double precision,
  kind text not null,
  name text not null,
  key text not null,
  starts timestamp with time zone[],
  counts integer[],
  constraint rates_kind_check CHECK ((kind = ANY (ARRAY['task'::text, 'queue'::text]))),
  constraint rates_pkey PRIMARY KEY (kind, name, key)
) with (fillfactor=50, autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=2000);

create table tusk.schedules (
  id text not null,
  next_run_at timestamp with time zone,
  last_run_at timestamp with time zone,
  created_at timestamp with time zone not null default now(),
  updated_at timestamp with time zone not null default now(),
  last_job_id uuid,
  runs bigint not null default 0,
  paused boolean not null default false,
  task text not null,
  queue text not null,
  args jsonb not null,
  draft jsonb not null,
  spec jsonb not null,
  constraint schedules_pkey PRIMARY KEY (id)
);
CREATE INDEX schedules_due ON tusk.schedules USING btree (next_run_at) WHERE ((NOT paused) AND (next_run_at IS NOT NULL));

create table tusk.subscribers (
  id uuid not null,
  expires_at timestamp with time zone not null,
  constraint subscribers_pkey PRIMARY KEY (id)
);

create table tusk.tasks (
  name text not null,
  queue text not null,
  priority smallint not null,
  retries integer not null,
  ttl_ms double precision,
  options jsonb,
  limits jsonb,
  published_at timestamp with time zone not null default now(),
  constraint tasks_pkey PRIMARY KEY (name)
);

create table tusk.workers (
  id uuid not null,
  started_at timestamp with time zone not null default now(),
  heartbeat_at timestamp with time zone not null default now(),
  lease interval not null,
  pid integer not null,
  running integer not null default 0,
  host text not null,
  version text not null,
  queues text[] not null,
  tasks text[] not null,
  listens boolean,
  constraint workers_pkey PRIMARY KEY (id)
);

CREATE OR REPLACE FUNCTION tusk.abandon_children(most integer, OUT gone_parents integer, OUT lanes jsonb, OUT due_ms double precision, OUT watched uuid[], OUT ended jsonb)
 RETURNS record
 LANGUAGE plpgsql
 SET jit TO 'off'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off';

CREATE OR REPLACE PROCEDURE tusk.add_batch(IN ids uuid[], IN queues text[], IN tasks text[], IN priorities smallint[], IN max_attempts integer[], IN args jsonb[], IN delays double precision[], IN instants timestamp with time zone[], IN ttls double precision[], IN headers jsonb[], IN options jsonb[], IN concurrency_keys text[], IN rate_keys text[], IN channel text, IN self text, INOUT lanes jsonb DEFAULT NULL::jsonb, INOUT due_ms double precision DEFAULT NULL::double precision, INOUT subscribed boolean DEFAULT NULL::boolean, INOUT told boolean DEFAULT NULL::boolean)
 LANGUAGE plpgsql
AS $procedure$
begin
  perform set_config('synchronous_commit', 'off', true);
  select i.lanes, i.due_ms, i.subscribed into lanes, due_ms, subscribed
  from tusk.insert_jobs(ids, queues, tasks, priorities, max_attempts, args, delays, instants, ttls, headers, options, concurrency_keys, rate_keys) i;
  commit;
  perform set_config('synchronous_commit', 'off', true);
  told := tusk.wake(channel, lanes, due_ms, '@' || self);
  commit;
  perform tusk.flush_log();
end
$procedure$;

CREATE OR REPLACE PROCEDURE tusk.add_job(IN in_id uuid, IN in_queue text, IN in_task text, IN in_priority smallint, IN in_max_attempts integer, IN in_args jsonb, IN in_headers jsonb, IN in_options jsonb, IN channel text, IN self text, INOUT seq bigint DEFAULT NULL::bigint, INOUT subscribed boolean DEFAULT NULL::boolean, INOUT told boolean DEFAULT NULL::boolean)
 LANGUAGE plpgsql
AS $procedure$
begin
  perform set_config('synchronous_commit', 'off', true);
  insert into tusk.jobs (id, queue, task, priority, max_attempts, args, headers, options)
  values (in_id, in_queue, in_task, in_priority, in_max_attempts, in_args, in_headers, in_options)
  returning jobs.seq, exists (select from tusk.subscribers s where s.expires_at > now()) into seq, subscribed;
  commit;
  told := pg_notification_queue_usage() <= 0.5;
  if told then
    perform set_config('synchronous_commit', 'off', true);
    perform tusk.wake_lane(channel, in_queue, in_priority, seq, '@' || split_part(self, ' ', 1), nullif(split_part(self, ' ', 2), '')::uuid);
    commit;
  end if;
  perform tusk.flush_log();
end
$procedure$;

CREATE OR REPLACE FUNCTION tusk.add_jobs(drafts jsonb, channel text DEFAULT NULL::text, repeated boolean DEFAULT false)
 RETURNS TABLE(ord integer, id uuid, created boolean, queue text, state text, priority integer, seq bigint)
 LANGUAGE plpgsql
 SET jit TO 'off'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_mergejoin TO 'off'
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET extra_float_digits TO '1';

CREATE OR REPLACE FUNCTION tusk.add_plain_jobs(drafts jsonb, channel text)
 RETURNS void
 LANGUAGE plpgsql
 SET plan_cache_mode TO 'force_generic_plan'
 SET jit TO 'off'
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET extra_float_digits TO '1';

CREATE OR REPLACE FUNCTION tusk.add_repeats(repeats jsonb, OUT lanes jsonb, OUT due_ms double precision)
 RETURNS record
 LANGUAGE plpgsql
 SET jit TO 'off'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off';

CREATE OR REPLACE FUNCTION tusk.amount(value jsonb, most double precision)
 RETURNS double precision
 LANGUAGE sql
 IMMUTABLE;

CREATE OR REPLACE FUNCTION tusk.attempt(number integer, started_at timestamp with time zone, worker uuid, error jsonb)
 RETURNS jsonb
 LANGUAGE sql
 STABLE;

CREATE OR REPLACE FUNCTION tusk.begin_epoch()
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp';

CREATE OR REPLACE FUNCTION tusk.cancel_jobs(targets uuid[], reason text, OUT ids uuid[], OUT active uuid[], OUT lanes jsonb, OUT due_ms double precision, OUT watched uuid[], OUT ended jsonb)
 RETURNS record
 LANGUAGE plpgsql
 SET jit TO 'off'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off';

CREATE OR REPLACE FUNCTION tusk.check_backoff(value jsonb, field text)
 RETURNS jsonb
 LANGUAGE plpgsql
 IMMUTABLE;

CREATE OR REPLACE FUNCTION tusk.check_integer(value jsonb, field text, low integer, high integer, meaning text)
 RETURNS integer
 LANGUAGE plpgsql
 IMMUTABLE;

CREATE OR REPLACE FUNCTION tusk.check_keys(value jsonb, field text, known text[])
 RETURNS void
 LANGUAGE plpgsql
 IMMUTABLE;

CREATE OR REPLACE FUNCTION tusk.check_text(value jsonb, field text, most integer DEFAULT 255)
 RETURNS text
 LANGUAGE plpgsql
 IMMUTABLE;

CREATE OR REPLACE FUNCTION tusk.claim(queue text, priorities smallint[], cursors bigint[], most integer, worker uuid, tasks text[])
 RETURNS TABLE(id uuid, seq bigint, priority smallint, lease bigint, task text, attempt integer, max_attempts integer, args jsonb, options jsonb, headers jsonb, created_at double precision, scheduled_for double precision, subscribed boolean, ttl double precision)
 LANGUAGE plpgsql
 SET plan_cache_mode TO 'force_generic_plan'
 SET jit TO 'off'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_sort TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off';

CREATE OR REPLACE FUNCTION tusk.claim_limited(in_queue text, most integer, worker uuid, known text[], after bigint, until bigint)
 RETURNS TABLE(id uuid, seq bigint, priority smallint, lease bigint, task text, attempt integer, max_attempts integer, args jsonb, options jsonb, headers jsonb, created_at double precision, scheduled_for double precision, subscribed boolean, ttl double precision, next jsonb)
 LANGUAGE plpgsql
 SET plan_cache_mode TO 'force_generic_plan'
 SET jit TO 'off'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_sort TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off';

CREATE OR REPLACE FUNCTION tusk.drop_on(final tusk.job_state, own jsonb, of_queue jsonb)
 RETURNS date
 LANGUAGE plpgsql
 STABLE;

CREATE OR REPLACE FUNCTION tusk.duration_ms(value jsonb, field text, positive boolean DEFAULT false)
 RETURNS double precision
 LANGUAGE plpgsql
 IMMUTABLE;

CREATE OR REPLACE FUNCTION tusk.enqueue(task text, args jsonb DEFAULT '[]'::jsonb, options jsonb DEFAULT '{}'::jsonb)
 RETURNS uuid
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET extra_float_digits TO '1';

CREATE OR REPLACE FUNCTION tusk.expire_jobs(most integer, OUT ended jsonb, OUT lanes jsonb, OUT due_ms double precision, OUT watched uuid[])
 RETURNS record
 LANGUAGE plpgsql
 SET jit TO 'off'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off';

CREATE OR REPLACE FUNCTION tusk.flush_log()
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp';

CREATE OR REPLACE FUNCTION tusk.heartbeat(worker uuid, n integer, ids uuid[], leases bigint[], listening boolean)
 RETURNS TABLE(cancelled uuid[], lost integer[], versions integer[], fleet double precision[])
 LANGUAGE plpgsql
 SET plan_cache_mode TO 'force_generic_plan'
 SET jit TO 'off'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off';

CREATE OR REPLACE FUNCTION tusk.insert_jobs(ids uuid[], queues text[], tasks text[], priorities smallint[], max_attempts integer[], args jsonb[], delays double precision[], instants timestamp with time zone[], ttls double precision[], headers jsonb[], options jsonb[], concurrency_keys text[], rate_keys text[], OUT lanes jsonb, OUT due_ms double precision, OUT subscribed boolean)
 RETURNS record
 LANGUAGE plpgsql
 SET plan_cache_mode TO 'force_generic_plan'
 SET jit TO 'off';

CREATE OR REPLACE FUNCTION tusk.lane(priority smallint, limit_group bigint)
 RETURNS integer
 LANGUAGE sql
 IMMUTABLE;

CREATE OR REPLACE FUNCTION tusk.limit_group(task text, concurrency_key text, rate_key text)
 RETURNS bigint
 LANGUAGE sql
 IMMUTABLE;

CREATE OR REPLACE FUNCTION tusk.next_due(OUT delayed double precision, OUT expiry double precision, OUT schedule double precision)
 RETURNS record
 LANGUAGE plpgsql
 STABLE
 SET plan_cache_mode TO 'force_generic_plan'
 SET jit TO 'off'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off';

CREATE OR REPLACE FUNCTION tusk.partitions()
 RETURNS text[]
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp';

CREATE OR REPLACE FUNCTION tusk.progress(worker uuid, ids uuid[], leases bigint[], progress jsonb[])
 RETURNS void
 LANGUAGE plpgsql
 SET plan_cache_mode TO 'force_generic_plan'
 SET jit TO 'off'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off';

CREATE OR REPLACE FUNCTION tusk.promote(most integer)
 RETURNS TABLE(queue text, priority integer, seq bigint, jobs integer)
 LANGUAGE plpgsql
 SET plan_cache_mode TO 'force_generic_plan'
 SET jit TO 'off'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off';

CREATE OR REPLACE FUNCTION tusk.rate_now(of_kind text, of_name text, of_key text, rule jsonb, OUT most double precision, OUT per_ms double precision, OUT clock timestamp with time zone, OUT tokens double precision, OUT span interval, OUT starts timestamp with time zone[], OUT counts integer[])
 RETURNS record
 LANGUAGE plpgsql;

CREATE OR REPLACE FUNCTION tusk.rate_room(of_kind text, of_name text, of_key text, rule jsonb, OUT room integer, OUT wait_ms double precision)
 RETURNS record
 LANGUAGE plpgsql;

CREATE OR REPLACE FUNCTION tusk.remove_jobs(targets uuid[], in_states text[] DEFAULT NULL::text[], OUT ids uuid[], OUT active uuid[], OUT lanes jsonb, OUT due_ms double precision, OUT watched uuid[], OUT ended jsonb)
 RETURNS record
 LANGUAGE plpgsql
 SET jit TO 'off'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off';

CREATE OR REPLACE FUNCTION tusk.rescue_jobs(most integer, orphans boolean, self uuid, OUT rescued jsonb, OUT ended jsonb, OUT workers uuid[], OUT lanes jsonb, OUT due_ms double precision, OUT watched uuid[])
 RETURNS record
 LANGUAGE plpgsql
 SET jit TO 'off'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off';

CREATE OR REPLACE FUNCTION tusk.resolve_children(parents uuid[], states text[], results jsonb[], OUT lanes jsonb, OUT due_ms double precision, OUT watched uuid[], OUT ended jsonb)
 RETURNS record
 LANGUAGE plpgsql
 SET jit TO 'off'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off';

CREATE OR REPLACE FUNCTION tusk.retry_jobs(targets uuid[], OUT ids uuid[], OUT lanes jsonb, OUT watched uuid[], OUT retried jsonb, OUT ended jsonb)
 RETURNS record
 LANGUAGE plpgsql
 SET jit TO 'off'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off';

CREATE OR REPLACE FUNCTION tusk.settle(worker uuid, ids uuid[], leases bigint[], outcomes text[], delays double precision[], results jsonb[], errors jsonb[], progress jsonb[], OUT settled uuid[], OUT cancelled jsonb, OUT watched uuid[], OUT lanes jsonb, OUT due_ms double precision, OUT ended jsonb)
 RETURNS record
 LANGUAGE plpgsql
 SET plan_cache_mode TO 'force_generic_plan'
 SET jit TO 'off'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET extra_float_digits TO '1';

CREATE OR REPLACE FUNCTION tusk.snapshots(ids uuid[])
 RETURNS TABLE(id uuid, task text, queue text, state tusk.job_state, args text, priority smallint, attempt integer, max_attempts integer, attempts jsonb, progress jsonb, created_at timestamp with time zone, run_at timestamp with time zone, expires_at timestamp with time zone, started_at timestamp with time zone, finished_at timestamp with time zone, result text, error jsonb, custom_id text, headers jsonb, worker_id uuid, parents uuid[], waiting_for uuid[])
 LANGUAGE plpgsql
 STABLE
 SET plan_cache_mode TO 'force_generic_plan'
 SET jit TO 'off'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off';

CREATE OR REPLACE FUNCTION tusk.sweep(queues text[])
 RETURNS TABLE(queue text, priority integer, seq bigint)
 LANGUAGE plpgsql
 STABLE
 SET plan_cache_mode TO 'force_generic_plan'
 SET jit TO 'off'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off';

CREATE OR REPLACE FUNCTION tusk.take_rate(of_kind text, of_name text, of_key text, rule jsonb, n integer)
 RETURNS void
 LANGUAGE plpgsql;

CREATE OR REPLACE FUNCTION tusk.uuid_v7()
 RETURNS uuid
 LANGUAGE sql
 PARALLEL SAFE;

CREATE OR REPLACE FUNCTION tusk.wake(channel text, lanes jsonb, due_ms double precision DEFAULT NULL::double precision, mark text DEFAULT NULL::text)
 RETURNS boolean
 LANGUAGE plpgsql;

CREATE OR REPLACE FUNCTION tusk.wake_due(channel text, ms double precision, mark text DEFAULT NULL::text)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp';

CREATE OR REPLACE FUNCTION tusk.wake_lane(channel text, in_queue text, in_priority integer, in_seq bigint, mark text DEFAULT NULL::text, taker uuid DEFAULT NULL::uuid, level integer DEFAULT 0)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET jit TO 'off';

CREATE OR REPLACE FUNCTION tusk.watch(ids uuid[])
 RETURNS TABLE(id uuid, marked boolean, queue text, priority integer, seq bigint)
 LANGUAGE plpgsql
 SET plan_cache_mode TO 'force_generic_plan'
 SET jit TO 'off'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off';

-- meta: version 2, min_version 1
