import { type Kysely, sql } from "kysely"
import { render, type SchemaNames } from "../src/postgres/statements/names.js"
import { ADMIT_OWNER } from "../src/postgres/statements/row-security.js"

/**
 * The tables. One DDL statement a call (engines that forward DDL text, such as Citus, refuse several in one string).
 * Columns stand widest first, so that rows carry no padding.
 */
export function up(names: SchemaNames): (db: Kysely<any>) => Promise<void> {
  return async (db) => {
    for (const statement of STATEMENTS) await sql.raw(render(statement, names)).execute(db)
  }
}

/** Reverses `up`. Refuses to lose jobs or schedules, unless the session says `pgtusk.lose_data = on`. */
export function down(names: SchemaNames): (db: Kysely<any>) => Promise<void> {
  const schema = names.quoted
  return async (db) => {
    await refuseToLose(db, names)
    for (const table of [
      "subscribers",
      "schedules",
      "workers",
      "rates",
      "tasks",
      "queues",
      "keys",
      "job_dependencies",
      "finished_jobs",
      "jobs",
      "epoch",
      "meta",
    ]) {
      await sql.raw(`drop table if exists ${schema}.${table}`).execute(db)
    }
    await sql.raw(`drop sequence if exists ${schema}.job_seq`).execute(db)
    await sql.raw(`drop sequence if exists ${schema}.lease_seq`).execute(db)
    await sql.raw(`drop sequence if exists ${schema}.flush_seq`).execute(db)
    await sql.raw(`drop type if exists ${schema}.job_state`).execute(db)
  }
}

/** A setting, because no migrator hands an argument through; any client can set it, and PGOPTIONS or `?options=` carry it through any tool. */
async function refuseToLose(db: Kysely<any>, { schema, quoted }: SchemaNames): Promise<void> {
  // Nobody may add one after it was counted.
  await sql
    .raw(`lock table ${["jobs", "finished_jobs", "schedules"].map((table) => `${quoted}.${table}`).join(", ")} in access exclusive mode`)
    .execute(db)
  const { rows } = await sql
    .raw<{ told: boolean; live: number; finished: number; schedules: number }>(
      `select coalesce(lower(current_setting('pgtusk.lose_data', true)) in ('on', 'true', 'yes', '1'), false) as told,
              (select count(*) from ${quoted}.jobs)::integer as live, (select count(*) from ${quoted}.finished_jobs)::integer as finished,
              (select count(*) from ${quoted}.schedules)::integer as schedules`,
    )
    .execute(db)
  const { told, live, finished, schedules } = rows[0]!
  if (told || live + finished + schedules === 0) return
  throw new Error(
    `Undoing 0001_tables would lose what the schema "${schema}" holds: live jobs: ${live}, finished jobs: ${finished}, schedules: ${schedules}. ` +
      'If they may go, say so in the session: set pgtusk.lose_data = on, or PGOPTIONS="-c pgtusk.lose_data=on" for a tool',
  )
}

const STATEMENTS = [
  `create type {schema}.job_state as enum ('waiting', 'delayed', 'blocked', 'active', 'completed', 'failed', 'expired', 'cancelled')`,

  // The fence: each claim takes the next number, so a later claim of a job always carries a higher one.
  `create sequence {schema}.lease_seq`,
  // After a crash of the server, or when a standby takes over, leases that were given out might be given again. An unlogged table is empty then, and the
  // server has started at another time (should it be a relative of Postgres that knows no unlogged tables). The next claim then puts the sequence far
  // ahead, and its row in here (sql/functions/begin_epoch.sql).
  `create unlogged table {schema}.epoch (
    server_started_at timestamptz not null default pg_postmaster_start_time(),
    one               boolean primary key default true check (one)
  )`,
  // The order of becoming claimable. A job that returns to waiting after a delay takes a new number.
  `create sequence {schema}.job_seq`,
  // Set by those who wait for the disk (sql/functions/flush_log.sql). It counts nothing.
  `create sequence {schema}.flush_seq`,

  // Live jobs only: waiting, delayed, blocked, active.
  // concurrency_key, rate_key: of jobs whose task has that limit ('': it has no key function). limit_group: jobs of one task and the same keys, which
  // take turns with the other groups (sql/functions/limit_group.sql); null without limits. queue_limited: it was claimed under a limit of its queue.
  // The table empties and fills, so vacuum by a fixed number of dead rows, not by a share.
  `create table {schema}.jobs (
    id               uuid primary key,
    seq              bigint not null default nextval('{schema}.job_seq'),
    lease            bigint,
    run_at           timestamptz,
    expires_at       timestamptz,
    created_at       timestamptz not null default now(),
    started_at       timestamptz,
    scheduled_for    timestamptz,
    worker_id        uuid,
    limit_group      bigint,
    attempt          integer not null default 0,
    max_attempts     integer not null default 1,
    crashes          integer not null default 0,
    pending_parents  integer not null default 0,
    state            {schema}.job_state not null default 'waiting',
    priority         smallint not null default 5,
    has_children     boolean not null default false,
    keyed            boolean not null default false,
    watched          boolean not null default false,
    cancel_requested boolean not null default false,
    queue_limited    boolean not null default false,
    queue            text not null,
    task             text not null,
    args             jsonb not null,
    headers          jsonb,
    options          jsonb,
    progress         jsonb,
    attempts         jsonb,
    error            jsonb,
    custom_id        text,
    concurrency_key  text,
    rate_key         text,
    parents          uuid[]
  ) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 10000)`,
  // Reader: the claim, and the sweep that finds lanes. (queue, priority) is a lane, seq the order in it.
  `create index jobs_claim on {schema}.jobs (queue, priority, seq) where state = 'waiting' and limit_group is null`,
  // Reader: the claim of jobs whose tasks have limits, group by group.
  `create index jobs_claim_limited on {schema}.jobs (queue, limit_group, priority, seq) where state = 'waiting' and limit_group is not null`,
  // Readers: how many run under a key, and in a queue that is limited. Counted, not kept in counters: nothing leaks in a crash.
  `create index jobs_running_key on {schema}.jobs (task, concurrency_key) where state = 'active' and concurrency_key is not null`,
  `create index jobs_running_queue on {schema}.jobs (queue) where state = 'active' and queue_limited`,
  // Reader: promote, and the next due instant.
  `create index jobs_due on {schema}.jobs (run_at) where state = 'delayed'`,
  // Reader: rescue, heartbeat, and a worker's own jobs.
  `create index jobs_leased on {schema}.jobs (worker_id) where state = 'active'`,
  // Reader: expire, and the next due instant.
  `create index jobs_expiry on {schema}.jobs (expires_at) where state <> 'active' and expires_at is not null`,

  // The ends: completed, failed, expired, cancelled. Partitioned by the day on which a row may go, so that retention drops whole days whatever
  // each queue keeps; what is kept beyond the horizon of daily partitions stands in finished_jobs_long (drop_on = infinity) until keep_until.
  `create table {schema}.finished_jobs (
    id            uuid not null,
    finished_at   timestamptz not null default now(),
    created_at    timestamptz not null,
    started_at    timestamptz,
    expires_at    timestamptz,
    run_at        timestamptz,
    scheduled_for timestamptz,
    keep_until    timestamptz,
    worker_id     uuid,
    attempt       integer not null,
    max_attempts  integer not null,
    crashes       integer not null,
    drop_on       date not null,
    state         {schema}.job_state not null,
    priority      smallint not null,
    queue         text not null,
    task          text not null,
    args          jsonb not null,
    headers       jsonb,
    options       jsonb,
    progress      jsonb,
    attempts      jsonb,
    result        jsonb,
    error         jsonb,
    custom_id     text,
    concurrency_key text,
    rate_key      text,
    parents       uuid[]
  ) partition by range (drop_on)`,
  // Reader: a job by id; listing by creation (ids are time-ordered).
  `create index finished_jobs_id on {schema}.finished_jobs (id)`,
  // Reader: clean by age, statistics over a span of time.
  `create index finished_jobs_finished_at on {schema}.finished_jobs using brin (finished_at)`,
  // Reader: dead letters of a queue, and redrive in order of finish.
  `create index finished_jobs_dead on {schema}.finished_jobs (queue, finished_at) where state in ('failed', 'expired')`,
  `create table {schema}.finished_jobs_long partition of {schema}.finished_jobs for values from ('infinity') to (maxvalue)`,
  // Reader: prune.
  `create index finished_jobs_long_keep_until on {schema}.finished_jobs_long (keep_until)`,

  // Open edges only: an edge goes when its parent allows the child, or with the child.
  // paths: where in the child's args the parent's result goes, [["0"], ["2", "1"]].
  `create table {schema}.job_dependencies (
    parent_id  uuid not null,
    child_id   uuid not null,
    on_failure text not null check (on_failure in ('block', 'fail', 'cancel', 'run')),
    paths      jsonb,
    primary key (parent_id, child_id)
  )`,
  `create index job_dependencies_child on {schema}.job_dependencies (child_id)`,

  // Every kind of uniqueness: one primary key decides all races. kind "id": a custom id; kind "key": deduplication.
  // release "removal": until the job is removed; "finish": until it has finished; "time": until \`until\`.
  `create table {schema}.keys (
    job_id  uuid not null,
    until   timestamptz,
    queue   text not null,
    kind    text not null check (kind in ('id', 'key')),
    key     text not null,
    release text not null check (release in ('removal', 'finish', 'time')),
    primary key (queue, kind, key)
  )`,
  `create index keys_job on {schema}.keys (job_id)`,
  `create index keys_until on {schema}.keys (until) where until is not null`,

  // Settings of queues that have any; a queue needs no row to exist.
  `create table {schema}.queues (
    name        text primary key,
    paused      boolean not null default false,
    concurrency integer,
    rate_limit  jsonb,
    keep        jsonb,
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now()
  )`,

  // What workers publish of their tasks: defaults for producers without the code, and the limits, which hold for jobs that are stored already.
  `create table {schema}.tasks (
    name         text primary key,
    queue        text not null,
    priority     smallint not null,
    retries      integer not null,
    ttl_ms       double precision,
    options      jsonb,
    limits       jsonb,
    published_at timestamptz not null default now()
  )`,

  // What a rate limit has seen, a row a key. kind "task": name is the task, key the job's rate_key; kind "queue": name is the queue, key is ''.
  // starts, counts: of a sliding window; tokens: what a bucket held then. No index but the key, so that updates stay inside their page.
  `create table {schema}.rates (
    at         timestamptz not null,
    expires_at timestamptz not null,
    tokens     double precision,
    kind       text not null check (kind in ('task', 'queue')),
    name       text not null,
    key        text not null,
    starts     timestamptz[],
    counts     integer[],
    primary key (kind, name, key)
  ) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000)`,

  `create table {schema}.workers (
    id           uuid primary key,
    started_at   timestamptz not null default now(),
    heartbeat_at timestamptz not null default now(),
    lease        interval not null,
    pid          integer not null,
    running      integer not null default 0,
    host         text not null,
    version      text not null,
    queues       text[] not null,
    tasks        text[] not null
  )`,

  `create table {schema}.schedules (
    id          text primary key,
    next_run_at timestamptz,
    last_run_at timestamptz,
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now(),
    last_job_id uuid,
    runs        bigint not null default 0,
    paused      boolean not null default false,
    task        text not null,
    queue       text not null,
    args        jsonb not null,
    draft       jsonb not null,
    spec        jsonb not null
  )`,
  `create index schedules_due on {schema}.schedules (next_run_at) where not paused and next_run_at is not null`,

  // Who listens to events from other processes; workers broadcast only while a row here is fresh.
  `create table {schema}.subscribers (
    id         uuid primary key,
    expires_at timestamptz not null
  )`,

  // version: of this schema. min_version: the oldest schema version whose library may still work on it.
  `create table {schema}.meta (
    version     integer not null,
    min_version integer not null
  )`,
  // Before the first rows: an event trigger may have put all of these tables under row-level security.
  ADMIT_OWNER,
  `insert into {schema}.epoch default values`,
  `insert into {schema}.meta (version, min_version) values (1, 1)`,
]
