/**
 * A producer process of the storm: enqueues whatever the dice say, and notes in the ledger what was accepted, refused, or is unknown. It must not
 * count on more than the library promises: an id that was returned, or a transaction that was committed.
 */
import "./skew.js"
import { randomUUID } from "node:crypto"
import pg from "pg"
import { ConnectionError, configure, flow, type Job, type OnParentFailure } from "../../../src/index.js"
import { randomFrom } from "../../support/random.js"
import { book, note } from "./book.js"
import type { Command } from "./processes.js"
import * as tasks from "./tasks.js"

const url = process.env["DATABASE_URL"]!
const random = randomFrom(Number(process.env["SEED"]))
const pauseMs = 1_000 / Number(process.env["RATE"])
/** Live jobs beyond which it waits for the workers. */
const MAX_LIVE = 400
const MAX_OPEN = 30

// One of the two ways to connect; the small pool can be emptied.
const pool = new pg.Pool({ connectionString: url, max: 3, connectionTimeoutMillis: 3_000, keepAlive: true })
pool.on("connect", (client) => client.on("error", () => undefined))
pool.on("error", () => undefined)
const quiet = { debug() {}, info() {}, warn() {}, error() {} }
configure({ ...(process.env["WITH_POOL"] === "1" ? { pool } : { connectionString: url }), logger: quiet, signals: false })

let going = true
let dieInTransaction = false
const open = new Set<Promise<void>>()

type Ends = readonly ("completed" | "failed" | "expired" | "cancelled" | "blocked" | "removed")[]

const ACCEPT = "insert into ledger.accepted (job, task, token, ends) values ($1, $2, $3, $4) on conflict do nothing"
const newToken = (): string => randomUUID()

async function accepted(jobs: readonly Job<any>[], token: string, ends: Ends): Promise<void> {
  for (const job of jobs) await note(ACCEPT, [job.id, job.task, token, ends])
}

/** Enqueues, and notes what came of it. Every job of the call carries the token as its first argument. */
async function offer(token: string, ends: Ends, enqueue: () => Promise<readonly Job<any>[]>): Promise<readonly Job<any>[]> {
  let jobs: readonly Job<any>[]
  try {
    jobs = await enqueue()
  } catch (error) {
    const unknown = error instanceof ConnectionError && error.unknown
    await note("insert into ledger.refused (token, unknown, error) values ($1, $2, $3) on conflict do nothing", [token, unknown, String(error)])
    return []
  }
  await accepted(jobs, token, ends)
  return jobs
}

const one = (token: string, ends: Ends, enqueue: () => Promise<Job<any>>) => offer(token, ends, async () => [await enqueue()])

const OPERATIONS: Readonly<Record<string, { weight: number; run: (token: string) => Promise<unknown> }>> = {
  fast: { weight: 6, run: (token) => one(token, ["completed"], () => tasks.fast.with({ priority: random.int(1, 9) }).enqueue(token)) },
  many: { weight: 1, run: (token) => offer(token, ["completed"], () => tasks.fast.enqueueMany(Array.from({ length: 20 }, () => [token]))) },
  gone: { weight: 1, run: (token) => one(token, ["completed", "removed"], () => tasks.gone.enqueue(token)) },
  slow: { weight: 3, run: (token) => one(token, ["completed"], () => tasks.slow.enqueue(token, random.int(50, 500))) },
  flaky: { weight: 2, run: (token) => one(token, ["completed"], () => tasks.flaky.enqueue(token, random.int(1, 3))) },
  failing: { weight: 1, run: runFailing },
  hang: { weight: 2, run: runCancelled },
  delayed: {
    weight: 2,
    run: async (token) => {
      const ms = random.int(50, 3_000)
      await one(token, ["completed"], () => tasks.fast.with({ delay: `${ms}ms`, headers: { delay: String(ms) } }).enqueue(token))
    },
  },
  stale: {
    weight: 3,
    run: (token) => one(token, ["completed", "expired"], () => tasks.stale.with({ ttl: `${random.int(50, 1_500)}ms` }).enqueue(token)),
  },
  flow: { weight: 2, run: runFlow },
  parents: { weight: 2, run: runParents },
  limited: { weight: 3, run: (token) => one(token, ["completed"], () => tasks.limited.enqueue(token, `k${random.int(1, 4)}`)) },
  rated: { weight: 0.5, run: (token) => one(token, ["completed"], () => tasks.rated.enqueue(token, `k${random.int(1, 2)}`)) },
  keyed: { weight: 3, run: (token) => one(token, ["completed"], () => tasks.keyed.enqueue(token, `k${random.int(1, 5)}`)) },
  custom: { weight: 1, run: (token) => one(token, ["completed"], () => tasks.fast.with({ id: `c-${random.int(1, 200)}` }).enqueue(token)) },
  booked: { weight: 4, run: (token) => one(token, ["completed"], () => tasks.booked.enqueue(token, random.chance(0.2))) },
  transaction: { weight: 3, run: runTransaction },
  removed: { weight: 1, run: runRemoved },
}

/** Its end is failed, once or twice. */
async function runFailing(token: string): Promise<void> {
  const [job] = await one(token, ["failed"], () => tasks.failing.enqueue(token, random.chance(0.3)))
  if (job === undefined || random.chance(0.7)) return
  await job.settled({ timeout: 5 }).catch(() => undefined)
  await job.retry().catch(() => undefined)
}

async function runCancelled(token: string): Promise<void> {
  const [job] = await one(token, ["completed", "cancelled"], () => tasks.hang.enqueue(token, random.int(50, 1_500)))
  if (job === undefined) return
  await new Promise((resolve) => setTimeout(resolve, random.int(0, 600)))
  const yes = await job.cancel("the producer said so").catch(() => false)
  if (yes) await note("insert into ledger.cancels (job) values ($1) on conflict do nothing", [job.id])
}

async function runRemoved(token: string): Promise<void> {
  const [job] = await one(token, ["completed", "removed"], () => tasks.fast.with({ delay: `${random.int(0, 500)}ms` }).enqueue(token))
  await job?.remove().catch(() => undefined)
}

/** Results go from job to job. */
async function runFlow(token: string): Promise<void> {
  const [a, b] = [random.int(1, 100), random.int(1, 100)]
  const adding = flow("sum", (f) => f.add(tasks.sum.call(token, f.add(tasks.part.call(token, a)).result, f.add(tasks.part.call(token, b)).result)))
  const jobs = await offer(token, ["completed"], async () => (await adding.enqueue()).jobs)
  const sum = jobs.find((job) => job.task === tasks.sum.taskName)
  if (sum !== undefined) await note("insert into ledger.sums (job, expected) values ($1, $2) on conflict do nothing", [sum.id, a + b])
}

const CHILD_ENDS: Readonly<Record<OnParentFailure, Ends>> = { block: ["blocked"], fail: ["failed"], cancel: ["cancelled"], run: ["completed"] }

/** A child with several parents, of which one may fail. */
async function runParents(token: string): Promise<void> {
  const good = await offer(token, ["completed"], () => tasks.flaky.enqueueMany([[token, 1], [token, 0]])) // biome-ignore format: short
  if (good.length === 0) return
  // A token for each call, since what came of it is noted by its token.
  const [other, own] = [newToken(), newToken()]
  const bad = random.chance() ? await one(other, ["failed"], () => tasks.failing.enqueue(other, true)) : []
  const policy = random.pick(["block", "fail", "cancel", "run"] as const)
  const parents = random.shuffle([...good, ...bad])
  await one(own, bad.length === 0 ? ["completed"] : CHILD_ENDS[policy], () =>
    tasks.fast.with({ dependsOn: parents, onParentFailure: policy }).enqueue(own),
  )
}

/** The application's rows and its jobs exist together or not at all, also when this process dies in between. */
async function runTransaction(token: string): Promise<void> {
  let client: pg.PoolClient | undefined
  try {
    client = await book.connect()
    await client.query("begin")
    const jobs = [await tasks.fast.with({ tx: client, headers: { tx: "1" } }).enqueue(token)]
    if (random.chance()) jobs.push(...(await tasks.booked.with({ tx: client, headers: { tx: "1" } }).enqueueMany([[token, false], [token, true]]))) // biome-ignore format: short
    for (const job of jobs) await client.query(ACCEPT, [job.id, job.task, token, ["completed"]])
    if (dieInTransaction) process.kill(process.pid, "SIGKILL")
    await client.query(random.chance(0.8) ? "commit" : "rollback")
    client.release()
  } catch {
    // Not committed, or unknown: the rows say which.
    client?.release(true)
  }
}

const bag = Object.entries(OPERATIONS).flatMap(([name, { weight }]) => Array.from({ length: Math.round(weight * 2) }, () => name))

/** Empties the pool that the client was given. */
async function exhaust(ms: number): Promise<void> {
  const taken = await Promise.allSettled([pool.connect(), pool.connect(), pool.connect()])
  await new Promise((resolve) => setTimeout(resolve, ms))
  for (const one of taken) if (one.status === "fulfilled") one.value.release()
}

process.on("disconnect", () => process.exit(3))
process.on("message", (command: Command) => {
  if (command.do === "finish") going = false
  if (command.do === "die in a transaction") dieInTransaction = true
  if (command.do === "exhaust") void exhaust(command.ms)
})
process.send?.({ ready: "producer" })

let live = 0
let asked = 0
while (going) {
  if (performance.now() - asked > 300) {
    asked = performance.now()
    void book.query("select count(*)::int as n from tusk.jobs where state <> 'blocked'").then(
      ({ rows }) => {
        live = rows[0].n
      },
      () => undefined,
    )
  }
  if (live < MAX_LIVE && open.size < MAX_OPEN) {
    const work: Promise<void> = OPERATIONS[random.pick(bag)]!.run(newToken()).then(
      () => void open.delete(work),
      (error: unknown) => {
        process.stderr.write(`error producer ${String(error)}\n`)
        open.delete(work)
      },
    )
    open.add(work)
  }
  await new Promise((resolve) => setTimeout(resolve, pauseMs))
}
await Promise.all(open)
process.removeAllListeners("disconnect")
process.disconnect?.()
// The client keeps its connections until the process ends.
process.exit(0)
