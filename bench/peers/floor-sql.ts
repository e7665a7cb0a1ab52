/** The statements of the floor. */

const day = (offset: number): string => new Date(Date.now() + offset * 86_400_000).toISOString().slice(0, 10)

export const SCHEMA: readonly string[] = [
  "create type job_state as enum ('waiting', 'delayed', 'blocked', 'active', 'completed', 'failed', 'expired', 'cancelled')",
  "create sequence lease_seq",
  `create table jobs (
    id uuid primary key, seq bigint generated always as identity, run_at timestamptz, expires_at timestamptz,
    created_at timestamptz not null default now(), started_at timestamptz, worker_id uuid, lease bigint,
    priority smallint not null default 5, attempt smallint not null default 0, max_attempts smallint not null default 1,
    pending_parents int not null default 0, has_children boolean not null default false, cancel_requested boolean not null default false,
    state job_state not null default 'waiting', queue text not null, task text not null,
    args jsonb not null, headers jsonb, progress jsonb, errors jsonb
  ) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000)`,
  "create index jobs_claim on jobs (queue, priority, seq) where state = 'waiting'",
  "create index jobs_due on jobs (run_at) where state = 'delayed'",
  "create index jobs_leased on jobs (worker_id) where state = 'active'",
  "create index jobs_expiry on jobs (expires_at) where state <> 'active' and expires_at is not null",
  `create table finished_jobs (
    id uuid not null, finished_at timestamptz not null default now(), created_at timestamptz, started_at timestamptz, worker_id uuid,
    priority smallint, attempt smallint, state job_state, queue text, task text, args jsonb, headers jsonb, progress jsonb, result jsonb, errors jsonb
  ) partition by range (finished_at)`,
  `create table finished_jobs_now partition of finished_jobs for values from ('${day(-1)}') to ('${day(2)}')`,
  "create index on finished_jobs (id)",
  "create index on finished_jobs using brin (finished_at)",
]

export const INSERT = `insert into jobs (id, queue, task, priority, max_attempts, args)
  select * from unnest($1::uuid[], $2::text[], $3::text[], $4::smallint[], $5::smallint[], $6::jsonb[])`

/** $4 is the cursor: nothing claimable lies at or below it, as far as this worker knows. */
export const CLAIM = `with lease as materialized (select nextval('lease_seq') as n), picked as materialized (
    select id from jobs where state = 'waiting' and queue = $1 and priority = 5 and seq > $4 order by seq limit $2 for update skip locked)
  update jobs j set state = 'active', attempt = attempt + 1, started_at = now(), worker_id = $3, lease = (select n from lease)
  from picked where j.id = picked.id returning j.id, j.seq, j.lease, j.task, j.args, j.attempt`

const ENDED = `delete from jobs j using unnest($1::uuid[], $2::bigint[], $3::jsonb[]) r (id, lease, result)
  where j.id = r.id and j.lease = r.lease returning`

export function finishStatement(kept: boolean): string {
  if (!kept) return `${ENDED} j.id`
  return `with done as (${ENDED} j.*, r.result)
    insert into finished_jobs (id, created_at, started_at, worker_id, priority, attempt, state, queue, task, args, headers, progress, result, errors)
    select id, created_at, started_at, worker_id, priority, attempt, 'completed', queue, task, args, headers, progress, result, errors from done
    returning id`
}
