/** Every call of a client that writes. */
import pg from "pg"
import { ConnectionError } from "../../../src/api/errors.js"
import { flow, type Job, type Tusk, task } from "../../../src/index.js"
import type { TestDatabase } from "../../support/database.js"

export const QUEUE = "q"
export const plain = task({ name: "plain", queue: QUEUE }, (n: number) => n)
const second = task({ name: "second", queue: QUEUE }, (n: number) => n)

/** Where a call is made: the database, and the way to it. */
interface Place {
  readonly db: TestDatabase
  readonly url: string
}

export interface Call {
  readonly name: string
  /** A part of the statement whose answer is lost. */
  readonly loses: string
  /** Statements of the sources that this shows, as `writesOf` names them. */
  readonly shows: readonly string[]
  /** What must be there first; what it returns is given to `act`. */
  readonly prepare?: (tusk: Tusk, db: TestDatabase) => Promise<any>
  readonly act: (tusk: Tusk, given: any, place: Place) => Promise<unknown>
  /** `repeated`: by the library. `unknown`: the caller hears it. `undone`: the caller hears that nothing happened, and nothing has. */
  readonly outcome: "repeated" | "unknown" | "undone"
  /** What the library's own repeat returns, if that says something. */
  readonly returns?: unknown
}

/** Jobs that have failed, as many as asked for. */
async function failed(tusk: Tusk, db: TestDatabase, count: number): Promise<void> {
  const jobs = await plain.with({ via: tusk, keep: { failed: "1d" } }).enqueueMany(Array.from({ length: count }, (_, n) => [n]))
  const ids = jobs.map((job) => job.id)
  await db.query(
    "select tusk.settle(null, $1, null, array_fill('failed'::text, array[$2::int]), null, null, array_fill('{\"message\": \"no\"}'::jsonb, array[$2::int]), null)",
    [ids, count],
  )
}
/** A worker's row and an active job of it. */
export async function running(tusk: Tusk, db: TestDatabase): Promise<Job<unknown>> {
  const job = await plain.with({ via: tusk }).enqueue(1)
  await db.query("insert into tusk.workers (id, lease, pid, host, version, queues, tasks) values ($1, '1 hour', 1, 'h', 'v', $2, $2)", [
    WORKER,
    [QUEUE],
  ])
  await db.query("select tusk.partitions()")
  await db.query("select from tusk.claim($1, '{5}', '{0}', 1, $2, '{plain}')", [QUEUE, WORKER])
  return job
}
export const WORKER = "11111111-1111-4111-8111-111111111111"
const ADD = 'tusk".add_jobs('
export const one = (tusk: Tusk, options = {}): Promise<Job<unknown>> => plain.with({ via: tusk, ...options }).enqueue(1)
const scheduled = (tusk: Tusk): Promise<unknown> => plain.with({ via: tusk }).schedule("s", { every: "1h" }, 1)

export const CALLS: readonly Call[] = [
  { name: "enqueue()", loses: "pgtusk_add_job_", shows: ["sql add_job"], act: (tusk) => one(tusk), outcome: "repeated" },
  {
    name: "enqueue() that wakes nobody",
    loses: "pgtusk_insert_job_",
    shows: ["sql insert_job"],
    act: (tusk) => one(tusk, { wake: "poll" }),
    outcome: "repeated",
  },
  {
    name: "enqueue() with a key and an id",
    loses: ADD,
    shows: ["enqueuer.ts add_jobs"],
    act: (tusk) => one(tusk, { id: "x", deduplicate: { key: "k", ttl: "1h" } }),
    outcome: "repeated",
  },
  {
    name: "enqueueMany()",
    loses: "pgtusk_add_batch_",
    shows: ["sql add_batch"],
    act: (tusk) => tusk.enqueueMany([plain.call(1), second.call(2)]),
    outcome: "repeated",
  },
  {
    name: "enqueueMany() that wakes nobody",
    loses: "pgtusk_insert_jobs_",
    shows: ["sql insert_jobs"],
    act: (tusk) => plain.with({ via: tusk, wake: "poll" }).enqueueMany([[1], [2]]),
    outcome: "repeated",
  },
  {
    name: "a flow",
    loses: ADD,
    shows: [],
    act: (tusk) =>
      flow("f", (f) => {
        const a = f.add(plain.call(1))
        return f.add(second.call(a.result as never), { after: [f.add(plain.call(3))] })
      }).enqueue({ via: tusk }),
    outcome: "repeated",
  },
  {
    name: "addFlow()",
    loses: ADD,
    shows: [],
    act: (tusk) =>
      tusk.addFlow([
        { id: "a", task: "plain", args: [1] },
        { id: "b", task: "second", args: [2], dependsOn: ["a"] },
      ]),
    outcome: "repeated",
  },
  {
    name: "a plain enqueue in a transaction",
    loses: "add_plain_jobs",
    shows: ["enqueuer.ts add_plain_jobs"],
    act: (tusk) => tusk.transaction((tx) => one(tusk, { tx })),
    outcome: "undone",
  },
  {
    name: "the commit of a transaction that enqueues with an id",
    loses: "commit\0",
    shows: [],
    act: (tusk) => tusk.transaction((tx) => one(tusk, { tx, id: "x" })),
    outcome: "unknown",
  },
  {
    name: "the SQL function enqueue, with an id",
    loses: "tusk.enqueue(",
    shows: [],
    act: async (_tusk, _given, { url }) => {
      const client = new pg.Client({ connectionString: url })
      client.on("error", () => {})
      await client.connect()
      try {
        await client.query(`select tusk.enqueue('plain', '[1]', '{"queue": "q", "id": "x"}')`)
      } catch (error) {
        throw new ConnectionError("lost", { cause: error, unknown: true })
      } finally {
        await client.end()
      }
    },
    outcome: "unknown",
  },
  {
    name: "cancel() of a waiting job",
    loses: "cancel_jobs",
    shows: ["admin.ts cancel_jobs"],
    prepare: (tusk) => one(tusk),
    act: (tusk, { id }) => tusk.job(id).cancel("why"),
    outcome: "unknown",
  },
  {
    name: "cancel() of a running job",
    loses: "cancel_jobs",
    shows: [],
    prepare: running,
    act: (tusk, { id }) => tusk.job(id).cancel(),
    outcome: "unknown",
  },
  {
    name: "remove()",
    loses: "remove_jobs",
    shows: ["admin.ts remove_jobs"],
    prepare: (tusk) => one(tusk, { id: "x" }),
    act: (tusk, { id }) => tusk.job(id).remove(),
    outcome: "unknown",
  },
  {
    name: "retry()",
    loses: "retry_jobs",
    shows: ["admin.ts retry_jobs"],
    prepare: (tusk, db) => failed(tusk, db, 1),
    act: async (tusk, _, { db }) => {
      const [row] = await db.query("select id from tusk.finished_jobs union all select id from tusk.jobs")
      return tusk.job(row.id).retry()
    },
    outcome: "unknown",
  },
  {
    name: "promote()",
    loses: "set state = 'waiting', run_at = now()",
    shows: ["sql promote_jobs"],
    prepare: (tusk) => one(tusk, { delay: "1h" }),
    act: (tusk, { id }) => tusk.job(id).promote(),
    outcome: "unknown",
  },
  {
    name: "reschedule()",
    loses: "set run_at = n.at",
    shows: ["sql reschedule"],
    prepare: (tusk) => one(tusk),
    act: (tusk, { id }) => tusk.job(id).reschedule("1h"),
    outcome: "unknown",
  },
  {
    name: "pause()",
    loses: ".queues (name, paused)",
    shows: ["queue.ts insert into queues"],
    act: (tusk) => tusk.queue(QUEUE).pause(),
    outcome: "repeated",
  },
  {
    name: "resume()",
    loses: ".queues (name, paused)",
    shows: [],
    prepare: (tusk) => tusk.queue(QUEUE).pause(),
    act: (tusk) => tusk.queue(QUEUE).resume(),
    outcome: "repeated",
  },
  {
    name: "configure() of a queue, while a job runs",
    loses: ".queues as q (name, keep",
    shows: ["queue.ts insert into queues", "queue.ts update jobs"],
    prepare: running,
    act: (tusk) => tusk.queue(QUEUE).configure({ concurrency: 2, rateLimit: { limit: 3, per: "1m" }, keep: { failed: "2d" } }),
    outcome: "repeated",
  },
  {
    name: "release()",
    loses: "kind = 'key' and key = $2 returning",
    shows: ["queue.ts delete from keys"],
    prepare: (tusk) => one(tusk, { deduplicate: "k" }),
    act: (tusk) => tusk.queue(QUEUE).release("k"),
    outcome: "unknown",
  },
  {
    name: "drain()",
    loses: "remove_jobs",
    shows: [],
    prepare: (tusk) => plain.with({ via: tusk }).enqueueMany([[1], [2], [3]]),
    act: async (tusk) => (await tusk.queue(QUEUE).drain()).length,
    outcome: "repeated",
    returns: 3,
  },
  {
    name: "clean() of some",
    loses: "remove_jobs",
    shows: [],
    prepare: (tusk, db) => failed(tusk, db, 5),
    act: async (tusk) => (await tusk.queue(QUEUE).clean({ state: "failed", limit: 2 })).length,
    outcome: "repeated",
    returns: 2,
  },
  {
    name: "redrive() of some",
    loses: "retry_jobs",
    shows: [],
    prepare: (tusk, db) => failed(tusk, db, 5),
    act: (tusk) => tusk.queue(QUEUE).redrive({ limit: 2 }),
    outcome: "repeated",
    returns: 2,
  },
  {
    name: "cancelAll() of some, one of which runs",
    loses: "cancel_jobs",
    shows: [],
    prepare: async (tusk, db) => {
      await running(tusk, db)
      await plain.with({ via: tusk }).enqueueMany([[2], [3], [4]])
    },
    act: (tusk) => tusk.queue(QUEUE).cancelAll({ limit: 2 }),
    outcome: "repeated",
    returns: 2,
  },
  ...[
    ["its pause", ".queues (name, paused)", []],
    ["its schedules", ".schedules where queue = $1", ["queue.ts delete from schedules"]],
    ["its keys", ".keys where queue = $1\0", ["queue.ts delete from keys"]],
    ["its settings", ".queues where name = $1\0", ["queue.ts delete from queues"]],
  ].map(
    ([what, loses, shows]): Call => ({
      name: `obliterate(), at ${what}`,
      loses: loses as string,
      shows: shows as string[],
      prepare: async (tusk, db) => {
        await failed(tusk, db, 2)
        await one(tusk, { id: "x", deduplicate: "k" })
        await scheduled(tusk)
      },
      act: (tusk) => tusk.queue(QUEUE).obliterate(),
      outcome: "repeated",
    }),
  ),
  { name: "the commit of a schedule", loses: "commit\0", shows: ["schedules.ts insert into schedules"], act: scheduled, outcome: "unknown" },
  {
    name: "pause() of a schedule",
    loses: "set paused = true",
    shows: ["schedules.ts update schedules"],
    prepare: scheduled,
    act: (tusk) => tusk.schedules.pause("s"),
    outcome: "unknown",
  },
  {
    name: "the commit of resume() of a schedule",
    loses: "commit\0",
    shows: ["schedules.ts update schedules"],
    prepare: async (tusk) => {
      await scheduled(tusk)
      await tusk.schedules.pause("s")
    },
    act: (tusk) => tusk.schedules.resume("s"),
    outcome: "unknown",
  },
  { name: "trigger()", loses: ADD, shows: [], prepare: scheduled, act: (tusk) => tusk.schedules.trigger("s"), outcome: "repeated" },
  {
    name: "remove() of a schedule",
    loses: ".schedules where id = $1 returning",
    shows: ["schedules.ts delete from schedules"],
    prepare: scheduled,
    act: (tusk) => tusk.schedules.remove("s"),
    outcome: "unknown",
  },
]
