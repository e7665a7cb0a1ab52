/** The invariants of the protocols, each by its name. I2 with a stopped process is in test/worker/fencing.test.ts, I3 in state-moves.test.ts, I10 in claim-cost.test.ts. */
import { describe, expect, test } from "vitest"
import { currentJob, type Job, task } from "../../src/index.js"
import { seeded } from "../support/seed.js"
import { waitFor } from "../support/wait.js"
import { ground } from "../worker/ground.js"
import { enqueue, workerProcess } from "../worker/processes.js"

const g = ground()

test("I1: an accepted job is never lost, though workers are killed all the time", async () => {
  const queue = g.name("q")
  const random = seeded()
  const tusk = g.open()
  const settings = { queue, options: { queues: { [queue]: 3 }, lease: 1, poll: "200ms" } } as const
  const workers = await Promise.all([workerProcess(g.db.url, settings), workerProcess(g.db.url, settings)])
  const accepted: Job<unknown>[] = []
  for (let round = 0; round < 3; round++) {
    for (let n = 0; n < 60; n++) accepted.push(await enqueue(tusk, queue, n % 20 === 0 ? "block" : "quick", [n % 20 === 0 ? 30 : n]))
    random.pick(workers).kill("SIGKILL")
    workers.push(await workerProcess(g.db.url, settings))
  }
  const outcomes = await Promise.all(accepted.map((job) => job.settled({ timeout: 30 })))
  expect(outcomes.filter((outcome) => !outcome.ok)).toEqual([])
  expect(await g.counts(queue)).toEqual({ completed: accepted.length })
}, 90_000)

describe("I2: a stale lease changes nothing", () => {
  test.each(["completed", "failed", "cancelled", "retry", "snoozed", "released"])("%s", async (outcome) => {
    const tusk = g.open()
    const job = await tusk.enqueue("nobody", [], { queue: g.name("q") })
    const [mine, other] = [crypto.randomUUID(), crypto.randomUUID()]
    await g.db.query("update tusk.jobs set state = 'active', attempt = 1, worker_id = $2, lease = 7, started_at = now() where id = $1", [
      job.id,
      mine,
    ])
    const settle = async (worker: string, lease: number): Promise<string[]> => {
      const [row] = await g.db.query(
        "select settled from tusk.settle($1, array[$2::uuid], array[$3::bigint], array[$4], array[5::float8], array['1'::jsonb], array['{}'::jsonb], array['{}'::jsonb])",
        [worker, job.id, lease, outcome],
      )
      return row.settled ?? []
    }
    const before = await g.row(job.id)
    // An older lease of the same worker, and the right lease of another (a sequence may hand out a number twice after a crash).
    expect(await settle(mine, 6)).toEqual([])
    expect(await settle(other, 7)).toEqual([])
    expect(await g.row(job.id)).toEqual(before)
    expect(await settle(mine, 7)).toEqual([job.id])
    expect(await settle(mine, 7)).toEqual([])
  })
})

test("I4: a job that is enqueued in a transaction exists exactly if it commits", async () => {
  const queue = g.name("q")
  const random = seeded()
  const ran = new Set<number>()
  const note = task({ name: g.name("t"), queue }, (n: number) => void ran.add(n))
  const tusk = g.open()
  await g.db.query("create table effects (n int primary key)")
  const worker = await tusk.work({ queues: { [queue]: 5 }, poll: "300ms" })
  const committed: number[] = []
  await Promise.all(
    Array.from({ length: 60 }, async (_, n) => {
      const commits = random.chance()
      if (commits) committed.push(n)
      const doing = tusk.transaction(async (tx) => {
        await tx.query("insert into effects values ($1)", [n])
        await note.with({ tx }).enqueue(n)
        if (!commits) throw new Error("rolled back")
      })
      if (commits) await doing
      else await expect(doing).rejects.toThrow("rolled back")
    }),
  )
  await waitFor(() => ran.size >= committed.length)
  await worker.drain()
  const sorted = (list: Iterable<number>): number[] => [...list].sort((a, b) => a - b)
  expect(sorted(ran)).toEqual(sorted(committed))
  expect((await g.db.query("select n from effects order by n")).map((row) => row.n)).toEqual(sorted(committed))
  expect(await g.counts(queue)).toEqual({ completed: committed.length })
})

test("I5: a child starts only after all its parents allow it, and exactly once", async () => {
  const queue = g.name("q")
  const random = seeded()
  const ended = new Map<string, boolean>()
  const starts = new Map<string, number>()
  const parentsOf = new Map<string, readonly string[]>()
  const early: string[] = []
  const node = task({ name: g.name("t"), queue }, async (label: string) => {
    starts.set(label, (starts.get(label) ?? 0) + 1)
    // "block": only a success lets a child go.
    if (!parentsOf.get(label)!.every((parent) => ended.get(parent) === true)) early.push(label)
    await new Promise((resolve) => setTimeout(resolve, random.int(0, 5)))
    const fails = label.endsWith("!")
    ended.set(label, !fails)
    if (fails) throw new Error("x")
  })
  g.open()
  await Promise.all([1, 2].map(() => g.work({ queues: { [queue]: 6 } })))
  const jobs: [string, Job<unknown>][] = []
  for (let n = 0; n < 80; n++) {
    const label = random.chance(0.08) ? `${n}!` : `${n}`
    const parents = random.shuffle(jobs).slice(0, random.int(0, Math.min(3, jobs.length)))
    const labels = parents.map(([parent]) => parent)
    parentsOf.set(label, labels)
    jobs.push([label, await node.with({ dependsOn: parents.map(([, job]) => job) }).enqueue(label)])
  }
  // Which may run is known beforehand: those of whose ancestors none fails.
  const runnable = new Set<string>()
  for (const [label] of jobs) if (parentsOf.get(label)!.every((parent) => runnable.has(parent) && !parent.endsWith("!"))) runnable.add(label)
  await waitFor(() => runnable.size === starts.size, { timeout: 20_000, what: "every node that may run to have started" })
  await waitFor(async () => (await g.counts(queue)).active === undefined)
  expect(early).toEqual([])
  expect([...starts.values()].every((n) => n === 1)).toBe(true)
  expect([...starts.keys()].every((label) => runnable.has(label))).toBe(true)
  expect((await g.counts(queue)).blocked ?? 0).toBe(jobs.length - runnable.size)
})

test("I6: a slot of a schedule fires once, however many workers look", async () => {
  const queue = g.name("q")
  const slots: string[] = []
  const tick = task({ name: g.name("t"), queue }, () => void slots.push(currentJob().scheduledFor!.toISOString()))
  const tusk = g.open()
  await Promise.all(Array.from({ length: 4 }, () => g.work({ queues: { [queue]: 2 } })))
  const id = g.name("schedule")
  await tick.with({ via: tusk }).schedule(id, { every: 1 })
  await waitFor(() => slots.length >= 3)
  await tusk.schedules.remove(id)
  expect(new Set(slots).size).toBe(slots.length)
  const twice = `select scheduled_for from (select scheduled_for, queue from tusk.jobs union all select scheduled_for, queue from tusk.finished_jobs) j
    where queue = $1 group by 1 having count(*) > 1`
  expect(await g.db.query(twice, [queue])).toEqual([])
})

test("I7: an expired job never starts, not even when it was claimed in time and waited for a slot", async () => {
  const queue = g.name("q")
  const late: number[] = []
  const started = new Set<string>()
  const random = seeded()
  const stamp = task({ name: g.name("t"), queue }, async (ttlMs: number) => {
    const { id, createdAt } = currentJob()
    started.add(id)
    // One clock for all: test, workers and server run on one machine. The grace is for a process that is held up between look and call.
    if (Date.now() > createdAt.getTime() + ttlMs + 200) late.push(ttlMs)
    // Most are fast, so that many are claimed ahead; some then hold them up.
    if (random.chance(0.02)) await new Promise((resolve) => setTimeout(resolve, 150))
  })
  g.open()
  await Promise.all([1, 2].map(() => g.work({ queues: { [queue]: 1 }, poll: "200ms" })))
  let n = 0
  for (let round = 0; round < 12; round++) {
    const ttlMs = random.int(30, 700)
    n += (await stamp.with({ ttl: ttlMs / 1_000 }).enqueueMany(Array.from({ length: 60 }, () => [ttlMs]))).length
  }
  const over = async (): Promise<boolean> => {
    const { completed = 0, expired = 0 } = await g.counts(queue)
    return completed + expired === n
  }
  await waitFor(over, { timeout: 25_000 })
  expect(late).toEqual([])
  const rows = await g.db.query("select id, attempt from tusk.finished_jobs where queue = $1 and state = 'expired'", [queue])
  expect(rows.length).toBeGreaterThan(0)
  for (const row of rows) expect([row.attempt, started.has(row.id)]).toEqual([0, false])
}, 60_000)

test("I8: a key has one owner, however many ask for it at once", async () => {
  const queue = g.name("q")
  const hold = task({ name: g.name("t"), queue }, () => "ran")
  const clients = Array.from({ length: 4 }, () => g.open())
  for (const options of [{ id: "order-1" }, { deduplicate: "user-1" }, { deduplicate: { key: "user-2", ttl: "1m" as const } }]) {
    const jobs = await Promise.all(Array.from({ length: 40 }, (_, i) => hold.with({ ...options, via: clients[i % 4]! }).enqueue()))
    expect(new Set(jobs.map((job) => job.id)).size).toBe(1)
    expect(jobs.filter((job) => job.created)).toHaveLength(1)
  }
  expect(await g.counts(queue)).toEqual({ waiting: 3 })
})

test.each([-600_000, 600_000])(
  "I9: no instant of a client's clock decides anything: a worker's clock is wrong by %i ms",
  async (clockMs) => {
    const queue = g.name("q")
    const tusk = g.open()
    const worker = await workerProcess(g.db.url, { queue, clockMs, options: { queues: { [queue]: 2 }, lease: 2, poll: "300ms" } })
    const now = await enqueue(tusk, queue, "quick", [1])
    const delayed = await tusk.enqueue("quick", [2], { queue, delay: "1s" })
    const faraway = await tusk.enqueue("quick", [3], { queue, delay: "5m" })
    const lasting = await tusk.enqueue("quick", [4], { queue, delay: "1s", ttl: "5m" })
    const stale = await tusk.enqueue("quick", [5], { queue, delay: "5m", ttl: "1s" })
    expect(await now.result({ timeout: 15 })).toBe(1)
    expect(await delayed.result({ timeout: 15 })).toBe(2)
    expect(await lasting.result({ timeout: 15 })).toBe(4)
    expect(await stale.settled({ timeout: 15 })).toMatchObject({ error: { code: "JOB_EXPIRED" } })
    expect(await faraway.state()).toBe("delayed")
    const { startedAt, runAt } = await delayed.snapshot()
    expect(startedAt!.getTime() - runAt!.getTime()).toBeGreaterThanOrEqual(0)
    expect(startedAt!.getTime() - runAt!.getTime()).toBeLessThan(5_000)
    // It is not taken for dead, and does not take the living for dead.
    const held = await enqueue(tusk, queue, "hold")
    await worker.line(`began ${held.id}`)
    const other = await g.work({ queues: [g.name("elsewhere")], lease: 1 })
    const beats = async (): Promise<number> =>
      (
        await g.db.query("select extract(epoch from min(heartbeat_at))::float as at from tusk.workers where id = any ($1::uuid[])", [
          [worker.workerId, other.id],
        ])
      )[0].at
    const first = await beats()
    await waitFor(async () => (await beats()) > first + 2)
    expect(await held.snapshot()).toMatchObject({ state: "active", attempt: 1, worker: worker.workerId })
  },
  60_000,
)
