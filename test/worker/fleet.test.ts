/** Several workers in processes of their own, and a poll so long that only hints can have found the jobs. */
import { afterEach, describe, expect, test } from "vitest"
import { Tusk } from "../../src/index.js"
import { waitFor } from "../support/wait.js"
import { ground } from "./ground.js"
import { enqueue, type WorkerProcess, workerProcess } from "./processes.js"

const g = ground()
/** Longer than any wait of these tests, so that no poll helps, and no lease runs out. */
const PATIENT = { poll: "10m", lease: "5m" } as const
let fleet: WorkerProcess[] = []
afterEach(async () => {
  await Promise.all(fleet.map((worker) => worker.kill("SIGKILL")))
  fleet = []
  await g.db.query("delete from tusk.workers")
})

async function startFleet(size: number, queue: string, slots = 5): Promise<void> {
  fleet = await Promise.all(
    Array.from({ length: size }, () => workerProcess(g.db.url, { queue, options: { ...PATIENT, queues: { [queue]: slots } } })),
  )
  await waitFor(async () => (await g.db.query("select from tusk.workers where listens")).length === size, { what: "all workers to be known" })
}

/** Enqueues `count` quick jobs, one when the last has ended, by a producer that runs no worker. */
async function oneByOne(count: number, queue: string): Promise<void> {
  const tusk = g.open()
  for (let n = 0; n < count; n++) expect(await (await enqueue(tusk, queue, "quick", [n])).result({ timeout: "20s" })).toBe(n)
}

const ran = (worker: WorkerProcess): number => worker.lines.filter((line) => line.startsWith("began")).length

describe("a job finds a worker", () => {
  test("one of three, and each of them has its share", async () => {
    const queue = g.name("q")
    await startFleet(3, queue)
    await oneByOne(40, queue)
    for (const worker of fleet) expect(ran(worker)).toBeGreaterThan(0)
    expect(fleet.reduce((sum, worker) => sum + ran(worker), 0)).toBe(40)
  }, 60_000)

  test("when the worker that was meant is stopped, or killed a moment ago", async () => {
    const queue = g.name("q")
    await startFleet(3, queue)
    fleet[0]!.kill("SIGSTOP")
    await oneByOne(15, queue)
    // One at a time: where the guard is gone too, only the poll is left.
    fleet[0]!.kill("SIGCONT")
    fleet[1]!.kill("SIGKILL")
    await oneByOne(15, queue)
    expect(ran(fleet[2]!)).toBeGreaterThan(0)
  }, 60_000)

  test("when the worker that was meant computes, or has no free slot", async () => {
    const queue = g.name("q")
    const tusk = g.open()
    await startFleet(3, queue, 1)
    const blocking = await enqueue(tusk, queue, "block", [4_000])
    const holding = await enqueue(tusk, queue, "hold")
    await Promise.any(fleet.map((worker) => worker.line(`began ${blocking.id}`)))
    await Promise.any(fleet.map((worker) => worker.line(`began ${holding.id}`)))
    await oneByOne(15, queue)
  }, 60_000)

  test("when only one worker knows its task", async () => {
    const queue = g.name("q")
    await startFleet(2, queue)
    const other = new Tusk({ connectionString: g.db.url, signals: false })
    try {
      // It serves the queue, and its row says that it knows all that this process has defined, which is not what the others run.
      await other.work({ ...PATIENT, queues: [queue] })
      await oneByOne(15, queue)
    } finally {
      await other.close()
    }
  }, 60_000)

  test("while paused workers and those that are going are left alone", async () => {
    const queue = g.name("q")
    await startFleet(2, queue)
    fleet[0]!.send("pause")
    await waitFor(async () => (await g.db.query("select from tusk.workers where listens")).length === 1, { what: "the pause to be known" })
    const before = ran(fleet[0]!)
    await oneByOne(10, queue)
    expect(ran(fleet[0]!)).toBe(before)
    fleet[0]!.send("resume")
    await waitFor(async () => (await g.db.query("select from tusk.workers where listens")).length === 2, { what: "the resume to be known" })
    fleet[1]!.send("drain")
    await fleet[1]!.line("stopped", 20_000)
    await oneByOne(5, queue)
    expect(ran(fleet[0]!)).toBeGreaterThan(before)
  }, 60_000)
})

test("a burst engages all workers, though one alone is woken", async () => {
  const queue = g.name("q")
  await startFleet(4, queue, 1)
  const tusk = g.open()
  const jobs = await Promise.all([1, 2, 3, 4].map(() => enqueue(tusk, queue, "hold")))
  for (const job of jobs) await Promise.any(fleet.map((worker) => worker.line(`began ${job.id}`, 20_000)))
  for (const worker of fleet) expect(ran(worker)).toBe(1)
}, 60_000)

test("an idle fleet is quiet: two transactions in five seconds for each worker, and no claim", async () => {
  const queue = g.name("q")
  const size = 4
  fleet = await Promise.all(Array.from({ length: size }, () => workerProcess(g.db.url, { queue, events: false })))
  await waitFor(async () => (await g.db.query("select from tusk.workers where listens")).length === size, { what: "all workers to be known" })
  const transactions = async (): Promise<number> => {
    const [row] = await g.db.query<{ n: number }>(
      "select pg_stat_force_next_flush(), xact_commit::int as n from pg_stat_database where datname = current_database()",
    )
    return row!.n
  }
  // What a session has done is counted once it has been idle for ten seconds.
  await new Promise((resolve) => setTimeout(resolve, 12_000))
  const before = await transactions()
  await new Promise((resolve) => setTimeout(resolve, 10_000))
  // Beside 0.5 a second and worker: our two questions, what autovacuum adds, and the first look for orphans.
  expect((await transactions()) - before).toBeLessThanOrEqual(0.5 * 10 * size + 20)
}, 60_000)
