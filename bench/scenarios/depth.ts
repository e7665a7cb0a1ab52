/** What a claim and a settle of 100 jobs take, however much else is there. The statements themselves, as a worker sends them. */

import { QueueLanes } from "../../src/worker/claim/lanes.js"
import type { Database } from "../peers/database.js"
import { median } from "../statistics.js"
import { clock, rest, type Scenario, withStore } from "./scenario.js"

const BATCH = 100
const WORKER = "00000000-0000-4000-8000-000000000000"
const PLAIN = "depth"
const KEYED = "depth.keyed"

interface Situation {
  readonly metric: string
  /** What is there beside 1,000 jobs that wait in the queue. */
  readonly around: string
  /** The priorities that those jobs have. */
  readonly priorities?: number
  /** Their keys of a concurrency limit. */
  readonly keys?: number
}

/** Jobs that are not claimed: another state, another queue, or behind the others. */
const others = (count: number, state: string, queue = `'${PLAIN}'`, more = "null"): string =>
  `insert into tusk.jobs (id, state, queue, task, args, run_at, pending_parents)
   select gen_random_uuid(), '${state}', ${queue}, '${PLAIN}', '[1]', ${more}, ${state === "blocked" ? 1 : 0} from generate_series(1, ${count}) n`

const SITUATIONS: readonly Situation[] = [
  { metric: "waiting1k", around: "select 1" },
  { metric: "waiting100k", around: others(99_000, "waiting") },
  { metric: "waiting1M", around: others(999_000, "waiting") },
  { metric: "delayed100k", around: others(100_000, "delayed", `'${PLAIN}'`, "now() + interval '1 day'") },
  { metric: "blocked100k", around: others(100_000, "blocked") },
  { metric: "queues1k", around: others(100_000, "waiting", "'other ' || n % 1000") },
  { metric: "priorities1k", around: "select 1", priorities: 1_000 },
  {
    metric: "finished1M",
    around: `insert into tusk.finished_jobs (id, created_at, attempt, max_attempts, crashes, drop_on, state, priority, queue, task, args)
      select gen_random_uuid(), now(), 1, 1, 0, (now() at time zone 'UTC')::date + 1, 'completed', 5, '${PLAIN}', '${PLAIN}', '[1]' from generate_series(1, 1000000)`,
  },
  { metric: "keys10", around: "select 1", keys: 10 },
  { metric: "keys1k", around: "select 1", keys: 1_000 },
]

const METRICS = SITUATIONS.map(({ metric }) => `${metric}Ms`)

const CLAIM = "select id, seq, priority, lease from tusk.claim($1, $2, $3, $4, $5, $6)"
const CLAIM_LIMITED = "select id, seq, priority, lease from tusk.claim_limited($1, $2, $3, $4, null, null) where id is not null"
const SETTLE = "select cardinality(settled) as settled from tusk.settle($1, $2, $3, $4, null, $5, null, null)"

interface Claimed {
  readonly id: string
  readonly seq: string
  readonly priority: number
  readonly lease: string
}

async function claim(database: Database, lanes: QueueLanes | undefined): Promise<Claimed[]> {
  if (lanes === undefined) return database.run(CLAIM_LIMITED, [PLAIN, BATCH, WORKER, [KEYED]])
  const plan = lanes.plan()!
  const jobs: Claimed[] = await database.run(CLAIM, [PLAIN, plan.priorities, plan.cursors, BATCH, WORKER, [PLAIN]])
  lanes.claimed(
    plan,
    jobs.map(({ priority, seq }) => ({ priority, seq: Number(seq) })),
    jobs.length === BATCH,
  )
  return jobs
}

/** One cycle: as many jobs come as go, so that the depth stays; only claim and settle are timed. */
async function cycle(database: Database, { priorities = 1, keys }: Situation, lanes: QueueLanes | undefined): Promise<number> {
  const began = clock()
  const jobs = await claim(database, lanes)
  const between = clock()
  if (jobs.length !== BATCH) throw new Error(`depth: ${jobs.length} of ${BATCH} jobs were claimed`)
  const all = <T>(value: T): T[] => jobs.map(() => value)
  const values = [WORKER, jobs.map(({ id }) => id), jobs.map(({ lease }) => lease), all("completed"), all("null")]
  const settling = clock()
  const [row] = await database.run(SETTLE, values)
  const took = clock() - settling + (between - began)
  if (row.settled !== BATCH) throw new Error(`depth: ${row.settled} of ${BATCH} jobs were settled`)
  await add(database, BATCH, priorities, keys)
  return took
}

async function add(database: Database, count: number, priorities: number, keys: number | undefined): Promise<void> {
  await database.run(
    `insert into tusk.jobs (id, queue, task, args, priority, concurrency_key, limit_group)
     select gen_random_uuid(), '${PLAIN}', j.task, '[1]', j.priority, j.key, tusk.limit_group(j.task, j.key, null)
     from (select $4::text as task, ($2 / 2 - n % $2)::smallint as priority, case when $3 > 0 then (n % $3)::text end as key from generate_series(1, $1) n) j`,
    [count, priorities, keys ?? 0, keys === undefined ? PLAIN : KEYED],
  )
}

export const depth: Scenario = {
  name: "depth",
  title: "claim and settle of 100 jobs, however much else is there",
  metric: "worstToSmallest",
  shown: [...METRICS, "manyKeysToFew", "jobs"],
  better: "lower",
  jobs: 4_000,
  mostJobs: 20_000,
  rounds: 1,
  takes: ({ name }) => name === "pgtusk",
  measure: (contestant, context) =>
    withStore(contestant, context, "plain", async (store, database) => {
      await database.run(
        `insert into tusk.tasks (name, queue, priority, retries, limits) values ($1, $2, 5, 0, '{"concurrency": {"limit": 100}}') on conflict do nothing`,
        [KEYED, PLAIN],
      )
      const cycles = Math.max(3, Math.round(context.jobs / BATCH))
      const metrics: Record<string, number> = {}
      for (const situation of SITUATIONS) {
        const { metric, around, priorities = 1, keys } = situation
        await store.clear()
        // Many priorities: as many jobs in each as one claim leaves some of.
        await add(database, priorities === 1 ? 1_000 : 20 * priorities, priorities, keys)
        await database.run(around)
        await rest(database)
        const lanes = keys === undefined ? new QueueLanes() : undefined
        const found = await database.run("select priority, min(seq) as seq from tusk.jobs where queue = $1 and state = 'waiting' group by 1", [PLAIN])
        for (const { priority, seq } of found) lanes?.hint(priority, Number(seq))
        const times: number[] = []
        for (let n = 0; n < cycles; n++) times.push(await cycle(database, situation, lanes))
        metrics[`${metric}Ms`] = median(times)
      }
      await database.run("delete from tusk.tasks where name = $1", [KEYED])
      const plain = METRICS.filter((metric) => !metric.startsWith("keys")).map((metric) => metrics[metric]!)
      return {
        ...metrics,
        worstToSmallest: Math.max(...plain) / metrics["waiting1kMs"]!,
        manyKeysToFew: metrics["keys1kMs"]! / metrics["keys10Ms"]!,
        jobs: cycles * BATCH,
      }
    }),
}
