/** A hundred thousand queues, a job in each. What it costs is counted in statements and pages, not in seconds. */
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { beforeAll, expect, test } from "vitest"
import { task } from "../../src/index.js"
import { statementTexts } from "../../src/postgres/statements/sql.js"
import { RecordingPool } from "../jobs/setup.js"
import { waitFor } from "../support/wait.js"
import { ground } from "../worker/ground.js"

const g = ground()
const QUEUES = 100_000
const A_CALL = 10_000
const nameOf = (n: number): string => `queue ${n}`
const OWN = [nameOf(7), nameOf(50_000), nameOf(99_999)]

const ran: string[] = []
const run = task({ name: "run" }, (name: string) => void ran.push(name))
const MIB = 1024 * 1024

setFlagsFromString("--expose-gc")
const gc = runInNewContext("gc") as () => void
async function heap(): Promise<number> {
  // Twice: what a finalizer lets go of goes with the second.
  for (let n = 0; n < 2; n++) {
    gc()
    await new Promise((resolve) => setImmediate(resolve))
  }
  return process.memoryUsage().heapUsed
}

/** Pages that a worker's sweep over its queues touches: the fewer of two, since one may find its plan outdated. */
async function pagesOfSweep(): Promise<number> {
  const sweep = statementTexts.sweep.replaceAll("{schema}", '"tusk"')
  const pages: number[] = []
  for (let n = 0; n < 2; n++) {
    const [row] = await g.db.query(`explain (analyze, buffers, format json) ${sweep}`, [OWN])
    const { Plan } = row["QUERY PLAN"][0]
    pages.push(Plan["Shared Hit Blocks"] + Plan["Shared Read Blocks"])
  }
  return Math.min(...pages)
}

let pool: RecordingPool
beforeAll(() => {
  pool = new RecordingPool({ connectionString: g.db.url })
  return () => pool.end()
})

test("are filled by a few statements, and a worker of three of them runs its jobs, looks at nothing else and keeps nothing of them", {
  timeout: 120_000,
}, async () => {
  await run.with({ via: g.open(), queue: "first" }).enqueue("first")
  const few = await pagesOfSweep()
  const worker = await g.work({ queues: OWN, poll: 60 })
  const before = await heap()
  const tusk = g.open({ pool })
  for (let from = 0; from < QUEUES; from += A_CALL) {
    await tusk.enqueueMany(Array.from({ length: A_CALL }, (_, n) => run.call(nameOf(from + n)).with({ queue: nameOf(from + n) })))
  }
  expect(pool.count("insert into")).toBeLessThanOrEqual((2 * QUEUES) / A_CALL + 1)
  await waitFor(() => ran.length === OWN.length, { what: "its jobs to run" })
  // All wakes have gone through, its own and those of a hundred thousand others.
  await run.with({ via: tusk, queue: OWN[0]! }).enqueue("last")
  await waitFor(() => ran.includes("last"))
  expect(pool.count("pg_notify")).toBeLessThanOrEqual((3 * QUEUES) / A_CALL)
  expect(ran.sort()).toEqual([...OWN, "last"].sort())
  expect((await heap()) - before).toBeLessThan(24 * MIB)

  for (const analyzed of [false, true]) {
    if (analyzed) await g.db.query("analyze tusk.jobs")
    await run.with({ via: tusk, wake: "poll" }).enqueueMany(Array.from({ length: 3 }, () => ["more"]))
    expect(await pagesOfSweep()).toBeLessThanOrEqual(few * 1.5 + 40)
  }
  await worker.stop()
  expect(ran).toHaveLength(OWN.length + 1)
})

test("are listed whole by two statements, and counted and searched one by one", { timeout: 60_000 }, async () => {
  const tusk = g.open({ pool })
  await tusk.workers()
  const began = pool.statements.length
  const queues = await tusk.queues()
  expect(pool.statements.length - began).toBe(2)
  // The three that were worked, since their finished jobs stay; "first" and "default".
  expect(queues.filter(({ name }) => name.startsWith("queue "))).toHaveLength(QUEUES)
  expect(queues.find(({ name }) => name === nameOf(1))).toMatchObject({ paused: false, workers: 0, counts: { waiting: 1, completed: 0 } })
  expect(queues.find(({ name }) => name === OWN[1])).toMatchObject({ counts: { waiting: 0, completed: 1 } })
  expect(await tusk.queue(nameOf(3)).counts()).toMatchObject({ waiting: 1, active: 0 })
  expect((await tusk.queue(nameOf(3)).jobs()).jobs.map(({ args }) => args)).toEqual([[nameOf(3)]])
  const { jobs, next } = await tusk.jobs({ limit: 1_000 })
  expect([jobs.length, next === null]).toEqual([1_000, false])
  await tusk.queue(nameOf(4)).obliterate()
  expect((await tusk.queues()).some(({ name }) => name === nameOf(4))).toBe(false)
})
