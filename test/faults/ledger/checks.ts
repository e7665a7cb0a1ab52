/**
 * What must hold when the storm is over, each as a query for what breaks it. Each check proves at the end of every run that it can fail: its
 * sabotage is done in a transaction, the check must then find more than before, and the transaction is rolled back.
 */
import { CONCURRENCY, RATE, SLOT_MS } from "./load.js"

export interface Check {
  readonly name: string
  /** What a finding counts as. */
  readonly kind: "lost" | "double" | "stuck"
  /** A row a finding; `what` says it. */
  readonly sql: string
  readonly sabotage: string
}

/** Moves that exist; I3. */
const ALLOWED = [
  ...["→ waiting", "→ delayed", "→ blocked", "→ failed", "→ cancelled"],
  ...["waiting → active", "waiting → delayed", "waiting → expired", "waiting → cancelled"],
  ...["delayed → waiting", "delayed → expired", "delayed → cancelled"],
  ...["blocked → waiting", "blocked → delayed", "blocked → expired", "blocked → cancelled", "blocked → failed"],
  ...["active → completed", "active → failed", "active → cancelled", "active → waiting", "active → delayed"],
  ...["failed → waiting", "expired → waiting", "cancelled → waiting", "failed → blocked", "expired → blocked", "cancelled → blocked"],
  ...["waiting → gone", "delayed → gone", "blocked → gone", "active → gone", "completed → gone", "failed → gone"],
]

/** From what a job was before a transaction to what it was after it. */
const MOVES = `
  select tx, job, at, task, moved.before, moved.after from (
    select tx, job, min(at) as at, min(task) as task, array_agg(state order by n) filter (where direction = 'out') as outs,
      array_agg(state order by n) filter (where direction = 'in') as ins from ledger.moves group by tx, job) x
  cross join lateral (select
    case when coalesce(cardinality(ins), 0) > coalesce(cardinality(outs), 0) then '' else outs[1] end as before,
    case when coalesce(cardinality(outs), 0) > coalesce(cardinality(ins), 0) then 'gone' else ins[cardinality(ins)] end as after) moved`

/** A live job that may stay so: it is blocked by a parent that ended otherwise. */
const EXPLAINED = `j.state = 'blocked' and exists (select from tusk.job_dependencies d join tusk.finished_jobs p on p.id = d.parent_id and p.state <> 'completed' where d.child_id = j.id)`

const someFinished = (where: string) => `(select id from tusk.finished_jobs where ${where} limit 1)`

export const CHECKS: readonly Check[] = [
  // ── Nothing is lost ──
  {
    name: "I1: an accepted job is somewhere",
    kind: "lost",
    sql: `select a.job || ' ' || a.task as what from ledger.accepted a where not ('removed' = any (a.ends)) and not exists (select from ledger.jobs j where j.id = a.job)`,
    sabotage: `delete from tusk.finished_jobs where id = (select job from ledger.accepted where not ('removed' = any (ends)) limit 1)`,
  },
  {
    name: "an accepted job ended as it must",
    kind: "lost",
    sql: `select j.id || ' ' || j.task || ' ' || j.state as what from ledger.accepted a join ledger.jobs j on j.id = a.job
      where not j.live and j.state <> all (a.ends) and not exists (select from ledger.accepted b where b.job = a.job and j.state = any (b.ends))`,
    sabotage: `update tusk.finished_jobs set state = 'failed' where id = ${someFinished("task = 'fast' and state = 'completed' and id in (select job from ledger.accepted)")}`,
  },
  {
    name: "a completed job has its effect",
    kind: "lost",
    sql: `select j.id || ' ' || j.task as what from ledger.jobs j where j.state = 'completed' and not exists (select from ledger.effects e where e.job = j.id)
      union all
      select a.job || ' ' || a.task from ledger.accepted a where a.task = 'gone' and not exists (select from ledger.effects e where e.job = a.job)`,
    sabotage: `delete from ledger.effects where job = ${someFinished("state = 'completed'")}`,
  },
  {
    name: "a confirmed cancel ended its job",
    kind: "lost",
    sql: `select c.job || ' ' || j.state as what from ledger.cancels c join ledger.jobs j on j.id = c.job where j.state <> 'cancelled'`,
    sabotage: `insert into ledger.cancels select id from tusk.finished_jobs where state = 'completed' limit 1`,
  },
  {
    name: "parents' results reached their child",
    kind: "lost",
    sql: `select s.job || ' ' || coalesce(j.result::text, 'nothing') || ' for ' || s.expected as what from ledger.sums s left join ledger.jobs j on j.id = s.job
      where j.result is distinct from to_jsonb(s.expected)`,
    sabotage: `update ledger.sums set expected = expected + 1`,
  },
  {
    name: "a transactional job has its follow-up",
    kind: "lost",
    sql: `select j.id::text as what from ledger.jobs j where j.task = 'booked' and j.state = 'completed'
      and not exists (select from ledger.jobs f where f.task = 'follow-up' and f.args ->> 0 = j.id::text)`,
    sabotage: `delete from tusk.finished_jobs where id = ${someFinished("task = 'follow-up'")}`,
  },
  {
    name: "I6: no schedule's slot was left out",
    kind: "lost",
    sql: `select x.schedule || ' after ' || x.slot as what from (
        select args ->> 0 as schedule, scheduled_for as slot, lead(scheduled_for) over (partition by args ->> 0 order by scheduled_for) as next
        from ledger.jobs where task = 'slot') x
      where x.next - x.slot <> interval '${SLOT_MS} milliseconds' and x.next <> x.slot
      union all select 'none at all' where not exists (select from ledger.jobs where task = 'slot')`,
    sabotage: `delete from tusk.finished_jobs where id = (select id from tusk.finished_jobs where task = 'slot' and args ->> 0 = 'a' order by scheduled_for offset 2 limit 1)`,
  },
  {
    name: "a repeating job goes on",
    kind: "lost",
    sql: `select c.token as what from ledger.chains c where not exists (select from ledger.jobs j where j.task = 'chain' and j.args ->> 0 = c.token and (j.live or j.state = 'cancelled'))`,
    sabotage: `insert into ledger.chains values ('sabotage')`,
  },
  {
    name: "a poisonous job fails in the end",
    kind: "lost",
    sql: `select j.id || ' ' || j.state || ' ' || j.attempt as what from ledger.jobs j where j.task = 'poison' and j.state <> 'failed'`,
    sabotage: `update tusk.finished_jobs set task = 'poison' where id = ${someFinished("state = 'completed'")}`,
  },

  // ── Nothing happens twice ──
  {
    name: "a transactional effect exists once",
    kind: "double",
    sql: `select j.id || ' ' || j.state || ': ' || count(e.n) as what from ledger.jobs j left join ledger.effects e on e.job = j.id and e.kind = 'tx'
      where j.task = 'booked' group by j.id, j.state having count(e.n) <> case when j.state = 'completed' then 1 else 0 end`,
    sabotage: `insert into ledger.effects (job, token, attempt, fence, kind, pid) select job, token, attempt, fence, kind, pid from ledger.effects where kind = 'tx' limit 1`,
  },
  {
    name: "I2: an effect is of the run that completed",
    kind: "double",
    sql: `select e.job || ' fence ' || e.fence as what from ledger.effects e where e.kind = 'tx' and not exists (
      select from ledger.moves m where m.tx = e.tx and m.job = e.job and m.direction = 'out' and m.state = 'active' and m.lease = e.fence)`,
    sabotage: `update ledger.effects set fence = fence - 1 where kind = 'tx'`,
  },
  {
    name: "a follow-up exists once",
    kind: "double",
    sql: `select args ->> 0 as what from ledger.jobs where task = 'follow-up' group by 1 having count(*) > 1`,
    sabotage: `update tusk.finished_jobs set args = '["same"]' where task = 'follow-up'`,
  },
  {
    name: "a job has one row",
    kind: "double",
    sql: `select id::text as what from ledger.jobs group by id having count(*) > 1`,
    sabotage: `insert into tusk.finished_jobs select * from tusk.finished_jobs limit 1`,
  },
  {
    name: "I3: only allowed moves, none unseen",
    kind: "double",
    sql: `select m.job || ' ' || m.task || ': ' || m.before || ' → ' || m.after || ', last seen ' || coalesce(m.known, 'never') as what from (
        select *, lag(m.after) over (partition by job order by at) as known from (${MOVES}) m where m.before <> m.after) m
      where (btrim(m.before || ' → ' || m.after) <> all (array[${ALLOWED.map((move) => `'${move}'`).join(", ")}]))
        or (m.known is not null and m.before is distinct from m.known)`,
    sabotage: `update tusk.finished_jobs set state = 'active' where id = ${someFinished("task = 'fast'")}; insert into ledger.moves (job, direction, state, task)
      select id, x.direction, x.step, task from tusk.finished_jobs, (values ('out', 'completed'), ('in', 'waiting')) x (direction, step) where task = 'fast' and tusk.finished_jobs.state = 'completed'`,
  },
  {
    name: "I4: a job of a transaction exists iff it committed",
    kind: "double",
    sql: `select j.id || ' ' || j.task as what from ledger.jobs j where j.headers ->> 'tx' = '1' and not exists (select from ledger.accepted a where a.job = j.id)`,
    sabotage: `delete from ledger.accepted where job = (select id from ledger.jobs where headers ->> 'tx' = '1' limit 1)`,
  },
  {
    name: "a refused job does not exist",
    kind: "double",
    sql: `select r.error || ' ' || j.id as what from ledger.refused r join ledger.jobs j on j.args ->> 0 = r.token where not r.unknown
      and not exists (select from ledger.accepted a where a.job = j.id)`,
    sabotage: `insert into ledger.refused select x.token, false, 'sabotage' from (select args ->> 0 as token from tusk.finished_jobs where task = 'follow-up' limit 1) x`,
  },
  {
    name: "I5: a child starts after its parents",
    kind: "double",
    sql: `select j.id || ' before ' || p.id as what from ledger.jobs j cross join lateral unnest(j.parents) x (id) join ledger.jobs p on p.id = x.id
      where p.finished_at > (select min(e.at) from ledger.effects e where e.job = j.id) and p.attempt <= 3`,
    sabotage: `update tusk.finished_jobs set finished_at = now() + interval '1 hour' where id in (select unnest(parents) from tusk.finished_jobs where state = 'completed')`,
  },
  {
    name: "I6: a schedule's slot fires once",
    kind: "double",
    sql: `select args ->> 0 || ' ' || scheduled_for as what from ledger.jobs where task = 'slot' group by args ->> 0, scheduled_for having count(*) > 1`,
    sabotage: `update tusk.finished_jobs set scheduled_for = now() where task = 'slot'`,
  },
  {
    name: "I7: an expired job never starts",
    kind: "double",
    sql: `select id || ' ' || state as what from ledger.jobs where started_at > expires_at`,
    sabotage: `update tusk.finished_jobs set expires_at = started_at - interval '1 second' where id = ${someFinished("state = 'completed'")}`,
  },
  {
    name: "I8: a custom id has one job",
    kind: "double",
    sql: `select queue || ' ' || custom_id as what from ledger.jobs where custom_id is not null group by 1 having count(*) > 1`,
    sabotage: `update tusk.finished_jobs set custom_id = 'same' where custom_id is not null`,
  },
  {
    name: "I8: a key has one live job",
    kind: "double",
    sql: `select x.key || ' ' || x.id as what from (
        select j.id, j.args ->> 1 as key, (select min(e.at) from ledger.effects e where e.job = j.id) as began, j.finished_at,
          lag(j.finished_at) over (partition by j.args ->> 1 order by j.finished_at) as free from ledger.jobs j where j.task = 'keyed' and not j.live) x
      where x.began < x.free`,
    sabotage: `update tusk.finished_jobs set args = jsonb_set(args, '{1}', '"same"') where task = 'keyed';
      update ledger.effects set at = at - interval '1 hour' where job in (select id from ledger.jobs where task = 'keyed')`,
  },
  {
    name: "I9: a delayed job waits by the database's clock",
    kind: "double",
    sql: `select j.id || ' by ' || (j.created_at + (j.headers ->> 'delay')::integer * interval '1 millisecond' - e.at) as what from ledger.jobs j join ledger.effects e on e.job = j.id
      where e.at < j.created_at + (j.headers ->> 'delay')::integer * interval '1 millisecond'`,
    sabotage: `update ledger.effects set at = at - interval '10 seconds' where job in (select id from ledger.jobs where headers ? 'delay')`,
  },
  {
    name: "I11: a key's limit of running jobs holds",
    kind: "double",
    sql: `select x.concurrency_key || ': ' || x.running || ' at ' || x.at as what from (
        select *, sum(case direction when 'in' then 1 else -1 end) over (partition by concurrency_key order by n) as running
        from ledger.moves where task = 'limited' and state = 'active') x where x.running > ${CONCURRENCY}`,
    sabotage: `delete from ledger.moves where n in (select n from ledger.moves where task = 'limited' and state = 'active' and direction = 'out' order by n limit ${CONCURRENCY * 10})`,
  },
  {
    name: "I11: a key's rate of starts holds",
    kind: "double",
    // A tenth of tolerance: the ledger's clock is read after the limit's.
    sql: `select x.rate_key || ' at ' || x.at as what from (
        select rate_key, at, lag(at, ${RATE.limit}) over (partition by rate_key order by at) as before
        from ledger.moves where task = 'rated' and state = 'active' and direction = 'in') x where x.at - x.before < interval '${RATE.perMs * 0.9} milliseconds'`,
    sabotage: `insert into ledger.moves (job, direction, state, task, rate_key) select gen_random_uuid(), 'in', 'active', 'rated', 'k1' from generate_series(0, ${RATE.limit})`,
  },
  {
    name: "a repeating job lives once",
    kind: "double",
    sql: `select args ->> 0 as what from ledger.jobs where task = 'chain' and (live or state = 'cancelled') group by 1 having count(*) > 1`,
    sabotage: `update tusk.finished_jobs set state = 'cancelled' where task = 'chain'`,
  },

  // ── Nothing is stuck or leaked ──
  {
    name: "no live job is left",
    kind: "stuck",
    sql: `select j.id || ' ' || j.task || ' ' || j.state || ' attempt ' || j.attempt || ' worker ' || coalesce(j.worker_id::text, 'none') as what from tusk.jobs j where not (${EXPLAINED})`,
    sabotage: `insert into tusk.jobs (id, queue, task, args) values (gen_random_uuid(), 'main', 'fast', '[]')`,
  },
  {
    name: "no lease is left",
    kind: "stuck",
    sql: `select id || ' ' || state as what from tusk.jobs where lease is not null or worker_id is not null or started_at is not null`,
    sabotage: `insert into tusk.jobs (id, queue, task, args, lease) values (gen_random_uuid(), 'main', 'fast', '[]', 1)`,
  },
  {
    name: "no worker is left",
    kind: "stuck",
    sql: `select id || ' pid ' || pid || ' beat ' || heartbeat_at as what from tusk.workers`,
    sabotage: `insert into tusk.workers (id, lease, pid, host, version, queues, tasks) values (gen_random_uuid(), '1 s', 1, '', '', '{}', '{}')`,
  },
  {
    name: "I8: no key outlives its owner",
    kind: "stuck",
    sql: `select queue || ' ' || kind || ' ' || key || ' of ' || job_id as what from tusk.keys k
      where case release when 'finish' then not exists (select from tusk.jobs j where j.id = k.job_id) else not exists (select from ledger.jobs j where j.id = k.job_id) end`,
    sabotage: `insert into tusk.keys (job_id, queue, kind, key, release) values (gen_random_uuid(), 'main', 'key', 'leaked', 'finish')`,
  },
  {
    name: "I5: open edges are those of blocked children",
    kind: "stuck",
    sql: `select coalesce(j.id::text, x.child_id::text) || ' counts ' || coalesce(j.pending_parents::text, 'nothing') || ', has ' || coalesce(x.n, 0) as what
      from (select child_id, count(*)::integer as n from tusk.job_dependencies group by 1) x full join tusk.jobs j on j.id = x.child_id
      where coalesce(x.n, 0) <> coalesce(j.pending_parents, -1) or (x.n > 0) <> (j.state = 'blocked')
      union all
      select d.parent_id || ' is gone' from tusk.job_dependencies d where not exists (select from ledger.jobs j where j.id = d.parent_id)`,
    sabotage: `insert into tusk.job_dependencies (parent_id, child_id, on_failure) values (gen_random_uuid(), gen_random_uuid(), 'block')`,
  },
  {
    name: "the partitions are those of the coming days",
    kind: "stuck",
    sql: `select count(*)::text as what from pg_inherits where inhparent = 'tusk.finished_jobs'::regclass having count(*) not between 18 and 21`,
    sabotage: `alter table tusk.finished_jobs detach partition tusk.finished_jobs_long; drop table tusk.finished_jobs_long;
      do $$ declare p text; begin for p in select inhrelid::regclass from pg_inherits where inhparent = 'tusk.finished_jobs'::regclass limit 5 loop execute 'drop table ' || p || ' cascade'; end loop; end $$`,
  },
  {
    name: "no connection, transaction or lock is left",
    kind: "stuck",
    sql: `select application_name || ' ' || coalesce(state, '') || ' ' || coalesce(left(query, 80), '') as what from pg_stat_activity
        where backend_type = 'client backend' and application_name not in ('conductor', 'pgtusk conductor')
      union all
      select 'advisory lock ' || objid from pg_locks where locktype = 'advisory' and pid <> pg_backend_pid()
      union all
      select 'subscriber ' || id from tusk.subscribers where expires_at > now() + interval '1 day'
      union all
      select 'advisory lock of mine' from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()`,
    sabotage: `select pg_advisory_xact_lock(1)`,
  },
]
