import { describe, expect, test } from "vitest"
import { currentJob, Tusk, task } from "../../src/index.js"
import { startProxy } from "../support/proxy.js"
import { seeded } from "../support/seed.js"
import { waitFor } from "../support/wait.js"
import { Gate, ground, reaches } from "./ground.js"

const g = ground()

/** A queue whose jobs wait at a gate, and how many of them ran at once at most. */
function gated(queue = g.name("q"), priority?: number) {
  const gate = new Gate()
  const seen = { now: 0, most: 0 }
  const run = task({ name: g.name("t"), queue, ...(priority === undefined ? {} : { priority }) }, async (label: string) => {
    seen.most = Math.max(seen.most, ++seen.now)
    try {
      await gate.pass(label, currentJob().signal)
    } finally {
      seen.now--
    }
  })
  return { queue, gate, seen, run }
}

describe("concurrency", () => {
  test("of each queue is reached and never exceeded, in one worker with several queues", async () => {
    const [a, b] = [gated(), gated()]
    await g.work({ queues: { [a.queue]: 2, [b.queue]: { concurrency: 3 } } })
    await a.run.enqueueMany(Array.from({ length: 9 }, (_, i) => [`a${i}`]))
    await b.run.enqueueMany(Array.from({ length: 9 }, (_, i) => [`b${i}`]))
    await waitFor(() => a.gate.waiting === 2 && b.gate.waiting === 3)
    for (let left = 18; left > 0; left--) {
      await waitFor(() => a.gate.letOne() || b.gate.letOne())
    }
    await waitFor(async () => (await g.counts(a.queue)).completed === 9 && (await g.counts(b.queue)).completed === 9)
    expect([a.seen.most, b.seen.most]).toEqual([2, 3])
  })

  test("of the whole worker bounds all its queues together, and every queue gets its turn", async () => {
    const queues = [gated(), gated(), gated()]
    const worker = await g.work({ queues: Object.fromEntries(queues.map(({ queue }) => [queue, 5])), concurrency: 2 })
    await Promise.all(queues.map(({ run }) => run.enqueueMany(Array.from({ length: 2_000 }, (_, i) => [`${i}`]))))
    const now = (): number => queues.reduce((sum, { seen }) => sum + seen.now, 0)
    const random = seeded()
    let most = 0
    // Each alone could keep both slots busy for good. Jobs that end as fast as these are claimed ahead, so one queue may have a few dozen at hand
    // before another's first claim is answered. A round takes one call of the server, so that a claim is answered within a few rounds.
    for (let round = 0; queues.some(({ gate }) => gate.arrived.length < 4); round++) {
      expect(round).toBeLessThan(500)
      await g.db.query("select")
      await waitFor(() => now() === 2, { what: "both slots to be busy" })
      most = Math.max(most, now())
      random.pick(queues.filter(({ gate }) => gate.waiting > 0)).gate.letOne()
    }
    expect(most).toBe(2)
    for (const { gate } of queues) gate.open()
    await worker.drain()
    expect(queues.every(({ seen }) => seen.now === 0)).toBe(true)
  })
})

describe("the order", () => {
  test("is first in, first out inside a priority, over batches of any size", async () => {
    const queue = g.name("q")
    const order: number[] = []
    const note = task({ name: g.name("t"), queue }, (n: number) => void order.push(n))
    g.open()
    await note.enqueueMany(Array.from({ length: 3_000 }, (_, n) => [n]))
    await g.work({ queues: { [queue]: 1 } })
    await waitFor(() => order.length === 3_000)
    expect(order).toEqual(Array.from({ length: 3_000 }, (_, n) => n))
  })

  test("puts lower priorities first, negative ones too", async () => {
    const queue = g.name("q")
    const order: number[] = []
    const note = task({ name: g.name("t"), queue }, (priority: number) => void order.push(priority))
    g.open()
    const random = seeded()
    const priorities = random.shuffle([-32_768, -100, -1, 0, 1, 5, 5, 9, 32_767])
    for (const priority of priorities) await note.with({ priority }).enqueue(priority)
    await g.work({ queues: { [queue]: 1 } })
    await waitFor(() => order.length === priorities.length)
    expect(order).toEqual([...priorities].sort((a, b) => a - b))
  })

  test("lets an urgent job overtake a backlog that is not running yet", async () => {
    const { queue, gate, run } = gated()
    await g.work({ queues: { [queue]: 1 } })
    await run.enqueueMany([["first"], ["second"], ["third"]])
    await waitFor(() => gate.waiting === 1)
    await run.with({ priority: 1 }).enqueue("urgent")
    gate.letOne()
    await waitFor(() => gate.arrived.length === 2)
    gate.open()
    await waitFor(() => gate.arrived.length === 4)
    expect(gate.arrived).toEqual(["first", "urgent", "second", "third"])
  })
})

/** The jobs that the worker holds: claimed, started or not. */
async function held(queue: string): Promise<number> {
  return (await g.counts(queue)).active ?? 0
}

/** How many claims took the jobs that have ended: each stamps its jobs with one instant. */
async function claims(queue: string): Promise<number> {
  const [row] = await g.db.query("select count(distinct started_at)::int as claims from tusk.finished_jobs where queue = $1", [queue])
  return row.claims
}

describe("claiming ahead", () => {
  test("is for handlers that have shown to be fast: others get no more than their slots", async () => {
    const { queue, gate, run } = gated()
    g.open()
    await run.enqueueMany(Array.from({ length: 200 }, (_, i) => [`${i}`]))
    await g.work({ queues: { [queue]: 4 } })
    for (let round = 0; round < 20; round++) {
      await waitFor(() => gate.waiting === 4)
      // The one that has just ended may not be recorded yet.
      await waitFor(async () => (await held(queue)) === 4, { what: "no job to be held beyond the slots" })
      // Each takes longer than a fast handler may.
      const since = performance.now()
      await waitFor(() => performance.now() - since > 20)
      gate.letOne()
    }
    gate.open()
  })

  test("fetches fast jobs in batches that grow with their speed", async () => {
    const queue = g.name("q")
    let ran = 0
    const quick = task({ name: g.name("t"), queue, keep: { completed: "1d" } }, () => void ran++)
    g.open()
    await quick.enqueueMany(Array.from({ length: 4_000 }, () => []))
    await g.work({ queues: { [queue]: 10 } })
    await waitFor(() => ran === 4_000)
    await waitFor(async () => (await g.counts(queue)).completed === 4_000)
    expect(await claims(queue)).toBeLessThan(200)
  })

  test("is also for handlers that are not fast, where a claim takes longer than they do", async () => {
    const queue = g.name("q")
    const proxy = await startProxy(g.db.url)
    const far = new Tusk({ connectionString: proxy.url, signals: false })
    try {
      const run = task({ name: g.name("t"), queue }, async () => {
        await new Promise((resolve) => setTimeout(resolve, 30))
      })
      g.open()
      await run.enqueueMany(Array.from({ length: 400 }, () => []))
      proxy.delay({ toServer: 120 })
      await far.work({ queues: { [queue]: 10 } })
      await waitFor(async () => (await g.counts(queue)).completed === 400)
      // Slot by slot it would be forty claims and more, of ten jobs each.
      expect(await claims(queue)).toBeLessThan(35)
    } finally {
      await far.close()
      await proxy.close()
    }
  })

  test("is not needed to fill slots that become free at once by one claim", async () => {
    const queue = g.name("q")
    const ends: (() => void)[] = []
    const endAll = (): void => {
      for (const end of ends.splice(0)) end()
    }
    // Twenty run, and end together; none is fast.
    const run = task({ name: g.name("t"), queue }, async () => {
      await new Promise<void>((resolve) => {
        if (ends.push(resolve) === 20) setTimeout(endAll, 20)
      })
    })
    g.open()
    await run.enqueueMany(Array.from({ length: 200 }, () => []))
    await g.work({ queues: { [queue]: 20 } })
    await waitFor(async () => (await g.counts(queue)).completed === 200)
    // The first slot by itself and the others with the next claim would be twenty.
    expect(await claims(queue)).toBeLessThanOrEqual(10)
  })

  test("what cannot start within a second goes back uncounted, and another worker runs it", async () => {
    const queue = g.name("q")
    const gate = new Gate()
    const ranBy = new Map<number, string>()
    const name = g.name("t")
    // The hundredth holds up the only slot of the worker that has hundreds claimed behind it.
    const run = task({ name, queue }, async (n: number) => {
      if (n === 100) await gate.pass("slow")
      ranBy.set(n, currentJob().id)
    })
    g.open()
    const jobs = await run.enqueueMany(Array.from({ length: 400 }, (_, n) => [n]))
    const slow = await g.work({ queues: { [queue]: 1 } })
    await waitFor(() => gate.waiting === 1)
    expect(await held(queue)).toBeGreaterThan(1)
    const began = performance.now()
    await waitFor(async () => (await held(queue)) === 1, { what: "what was claimed ahead to go back" })
    expect(performance.now() - began).toBeLessThan(3_000)
    await g.work({ queues: { [queue]: 1 } })
    await waitFor(() => ranBy.size === 399)
    gate.open()
    await waitFor(() => ranBy.size === 400)
    await waitFor(async () => (await g.counts(queue)).completed === 400)
    const snapshots = await Promise.all([jobs[101]!, jobs[399]!].map((job) => job.snapshot()))
    for (const snapshot of snapshots) {
      expect(snapshot).toMatchObject({ state: "completed", attempt: 1, maxAttempts: 1 })
      expect(snapshot.worker).not.toBe(slow.id)
    }
  })
})

test("a paused worker hands back what it has not started and claims nothing until it is resumed", async () => {
  const { queue, gate, run } = gated()
  const worker = await g.work({ queues: { [queue]: 1 } })
  await run.enqueue("one")
  await waitFor(() => gate.waiting === 1)
  worker.pause()
  const job = await run.enqueue("two")
  gate.open()
  await waitFor(async () => (await g.counts(queue)).completed === 1)
  // Duties go on: a delayed job becomes waiting.
  const delayed = await run.with({ delay: "50ms" }).enqueue("three")
  await reaches(delayed, "waiting")
  expect(gate.arrived).toEqual(["one"])
  expect(await job.state()).toBe("waiting")
  worker.resume()
  await waitFor(() => gate.arrived.length === 3)
})

test("a paused queue gives nothing, to no worker, until it is resumed; what runs goes on", async () => {
  const { queue, gate, run } = gated()
  await g.work({ queues: { [queue]: 2 }, poll: "200ms" })
  await run.enqueue("one")
  await waitFor(() => gate.waiting === 1)
  await g.db.query("insert into tusk.queues (name, paused) values ($1, true)", [queue])
  const second = await run.enqueue("two")
  gate.open()
  await waitFor(async () => (await g.counts(queue)).completed === 1)
  const asked = await sweeps()
  await waitFor(async () => (await sweeps()) > asked, { what: "the worker to have looked again" })
  expect(await second.state()).toBe("waiting")
  await g.db.query("update tusk.queues set paused = false where name = $1", [queue])
  await reaches(second, "completed")
})

/** How often the lanes were looked through: each sweep asks for the next schedule too. */
async function sweeps(): Promise<number> {
  const [row] = await g.db.query(
    "select pg_stat_force_next_flush(), (seq_scan + coalesce(idx_scan, 0))::int as n from pg_stat_user_tables where schemaname = 'tusk' and relname = 'schedules'",
  )
  return row.n
}

test("20,000 jobs and two workers: each runs exactly once", async () => {
  const queue = g.name("q")
  const times = new Map<number, number>()
  const count = task({ name: g.name("t"), queue }, (n: number) => void times.set(n, (times.get(n) ?? 0) + 1))
  g.open()
  for (let from = 0; from < 20_000; from += 5_000) await count.enqueueMany(Array.from({ length: 5_000 }, (_, i) => [from + i]))
  await Promise.all([g.work({ queues: { [queue]: 10 } }), g.work({ queues: { [queue]: 10 } })])
  await waitFor(async () => (await g.counts(queue)).completed === 20_000, { timeout: 25_000 })
  expect(times.size).toBe(20_000)
  expect([...times.values()].every((n) => n === 1)).toBe(true)
  const [row] = await g.db.query(
    "select count(distinct worker_id)::int as workers, max(attempt) as attempts from tusk.finished_jobs where queue = $1",
    [queue],
  )
  expect(row).toEqual({ workers: 2, attempts: 1 })
}, 60_000)
