import { chmod, mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { describe, expect, onTestFinished, test } from "vitest"
import { quietLogger } from "../../src/api/logger.js"
import { startEmbedded } from "../../src/embedded/embedded.js"
import { currentJob, task } from "../../src/index.js"
import { type FaultProxy, startProxy } from "../support/proxy.js"
import { seeded } from "../support/seed.js"
import { waitFor } from "../support/wait.js"
import { eventsOf, Gate, ground, reaches } from "./ground.js"
import { enqueue, workerProcess } from "./processes.js"

const g = ground()
const SHORT = { lease: 2, poll: "300ms" } as const

async function proxied(): Promise<FaultProxy> {
  const proxy = await startProxy(g.db.url)
  onTestFinished(() => proxy.close())
  return proxy
}

/** A task that waits at a gate and notes why it was aborted. */
function holding() {
  const queue = g.name("q")
  const gate = new Gate()
  const reasons: any[] = []
  const run = task({ name: g.name("t"), queue }, async (label: string) => {
    const { signal } = currentJob()
    signal.addEventListener("abort", () => reasons.push(signal.reason))
    await gate.pass(label, signal)
    return label
  })
  return { queue, gate, reasons, run }
}

describe("a database that cannot be reached", () => {
  test("for a lease: the worker gives up its runs by itself, in time, and hands the jobs back when it returns", async () => {
    const { queue, gate, reasons, run } = holding()
    const proxy = await proxied()
    await g.work({ ...SHORT, queues: [queue] }, { connectionString: proxy.url })
    g.open()
    const job = await run.enqueue("x")
    await waitFor(() => gate.waiting === 1)
    const [beat] = await g.db.query("select extract(epoch from now() - heartbeat_at)::float as age from tusk.workers where $1 = any (queues)", [
      queue,
    ])
    proxy.pause()
    const paused = performance.now()
    await waitFor(() => reasons.length === 1)
    expect(reasons[0]).toMatchObject({ code: "LEASE_LOST" })
    // No later than the others may take the job: a lease after its last beat, and a beat may still have been on its way.
    expect(performance.now() - paused).toBeLessThan(2_000 - beat.age * 1_000 + 700)
    // Nobody else was there to take it; it must not stay active for ever under a worker that lives.
    gate.open()
    proxy.resume()
    expect(await job.result({ timeout: 20 })).toBe("x")
    expect(await job.snapshot()).toMatchObject({ attempt: 1, maxAttempts: 1 })
  }, 60_000)

  test("for a moment: outcomes wait for it, and nothing is lost or run twice", async () => {
    const queue = g.name("q")
    const runs = new Map<number, number>()
    const count = task({ name: g.name("t"), queue }, async (n: number) => {
      runs.set(n, (runs.get(n) ?? 0) + 1)
      await new Promise((resolve) => setImmediate(resolve))
    })
    const proxy = await proxied()
    // A claim whose answer was lost is found after a lease.
    await g.work({ queues: { [queue]: 5 }, poll: "300ms", lease: 8 }, { connectionString: proxy.url })
    g.open()
    await count.enqueueMany(Array.from({ length: 600 }, (_, n) => [n]))
    await waitFor(() => runs.size > 50)
    proxy.refuse()
    proxy.drop()
    await waitFor(() => proxy.connections === 0)
    await proxy.accept()
    await waitFor(async () => (await g.counts(queue)).completed === 600, { timeout: 25_000 })
    expect(runs.size).toBe(600)
  }, 60_000)
})

describe("an answer that is lost", () => {
  test("of a claim: the jobs that it took come back, uncounted", async () => {
    const { queue, gate, run } = holding()
    const proxy = await proxied()
    g.open()
    const jobs = await run.enqueueMany([["a"], ["b"], ["c"]])
    const lost = proxy.loseReplies("pgtusk_claim")
    await g.work({ ...SHORT, queues: [queue] }, { connectionString: proxy.url })
    await lost
    gate.open()
    for (const job of jobs) {
      await job.result({ timeout: 25 })
      expect(await job.snapshot()).toMatchObject({ attempt: 1, maxAttempts: 1 })
    }
    expect(gate.arrived.sort()).toEqual(["a", "b", "c"])
    expect(g.log.some((line) => line.message.includes("claimed and the answer was lost"))).toBe(true)
  }, 60_000)

  test("of a claim, to a worker that is told to stop then: the jobs are back before it is gone", async () => {
    const { queue, gate, run } = holding()
    const proxy = await proxied()
    g.open()
    const jobs = await run.enqueueMany([["a"], ["b"], ["c"]])
    const lost = proxy.loseReplies("pgtusk_claim")
    const worker = await g.work({ queues: [queue] }, { connectionString: proxy.url })
    await lost
    await worker.stop()
    for (const job of jobs) expect(await job.snapshot()).toMatchObject({ state: "waiting", attempt: 0 })
    expect(await g.db.query("select 1 from tusk.workers where id = $1", [worker.id])).toEqual([])
    expect(gate.arrived).toEqual([])
  }, 60_000)

  test("of a settle: the outcome is recorded once", async () => {
    const { queue, gate, run } = holding()
    const proxy = await proxied()
    const tusk = g.open({ connectionString: proxy.url })
    const completed: string[] = []
    tusk.events.on("job:completed", ({ id }) => void completed.push(id))
    await tusk.work({ queues: [queue], drainTimeout: 2 })
    const job = await run.enqueue("x")
    await waitFor(() => gate.waiting === 1)
    const lost = proxy.loseReplies("pgtusk_settle")
    gate.open()
    await lost
    expect(await job.result({ timeout: 20 })).toBe("x")
    // And told once, though the call that recorded it was not the one that was answered.
    await waitFor(() => completed.length > 0)
    expect(completed).toEqual([job.id])
    expect(g.messages("warn").filter((message) => message.includes("came too late"))).toEqual([])
    expect(gate.arrived).toEqual(["x"])
    // The worker has learnt it and goes on.
    expect(await (await run.enqueue("y")).result({ timeout: 10 })).toBe("y")
  }, 60_000)

  test("of a look at what is due: delayed jobs still become due", async () => {
    const { queue, gate, run } = holding()
    const proxy = await proxied()
    gate.open()
    g.open()
    const job = await run.with({ delay: "1s", wake: "poll" }).enqueue("x")
    const lost = proxy.loseReplies(".next_due(")
    // It listens elsewhere, so that no reconnect of the listener brings the look back.
    await g.work({ queues: [queue], poll: "500ms" }, { connectionString: proxy.url, listenConnectionString: g.db.url, preparedStatements: false })
    await lost
    expect(await job.result({ timeout: 15 })).toBe("x")
  })
})

test("any connection of a worker may be terminated, at any moment, under load: nothing is lost, nothing recorded twice", async () => {
  const queue = g.name("q")
  const random = seeded()
  const done = new Set<number>()
  const work = task({ name: g.name("t"), queue, retries: 2, backoff: 0 }, async (n: number) => {
    if (n % 10 === 0 && currentJob().attempt === 1) throw new Error("once")
    await new Promise((resolve) => setTimeout(resolve, n % 3))
    done.add(n)
  })
  const tusk = g.open()
  const jobs = await work.enqueueMany(Array.from({ length: 1_500 }, (_, n) => [n]))
  await Promise.all([1, 2].map(() => g.work({ ...SHORT, queues: { [queue]: 10 } })))
  let cuts = 0
  while ((await g.counts(queue)).completed !== 1_500) {
    if (cuts > 40) break
    const pids = await g.db.query(
      "select pid from pg_stat_activity where datname = current_database() and application_name ~ '^pgtusk (worker|listen)'",
    )
    if (pids.length === 0) continue
    await g.db.query("select pg_terminate_backend($1)", [random.pick(pids).pid])
    cuts++
  }
  expect(cuts).toBeGreaterThan(5)
  await waitFor(async () => (await g.counts(queue)).completed === 1_500, { timeout: 40_000, what: "every job to complete" })
  expect(done.size).toBe(1_500)
  const [row] = await g.db.query("select count(*)::int as n, count(distinct id)::int as ids from tusk.finished_jobs where queue = $1", [queue])
  expect(row).toEqual({ n: 1_500, ids: 1_500 })
  expect(jobs).toHaveLength(1_500)
  expect(await tusk.job(jobs[0]!.id).state()).toBe("completed")
}, 90_000)

test("a restart of Postgres: workers go on by themselves", async () => {
  const { queue, gate, run } = holding()
  gate.open()
  const dataDir = await mkdtemp(join(tmpdir(), "pgtusk-restart-"))
  // Run by root, the server has an account of its own.
  await chmod(dataDir, 0o755)
  let server = await startEmbedded({ dataDir, logger: quietLogger })
  onTestFinished(async () => {
    await server.stop()
    await rm(dataDir, { recursive: true, force: true })
  })
  const tusk = g.open({ connectionString: server.connectionString, migrate: true })
  await tusk.work({ queues: [queue], poll: "500ms" })
  expect(await (await run.enqueue("before")).result({ timeout: 10 })).toBe("before")
  const delayed = await run.with({ delay: "1s" }).enqueue("delayed")
  const { port } = server
  await server.stop()
  server = await startEmbedded({ dataDir, port, logger: quietLogger })
  expect(await delayed.result({ timeout: 25 })).toBe("delayed")
  expect(await (await run.enqueue("after")).result({ timeout: 15 })).toBe("after")
}, 90_000)

describe("notifications", () => {
  test("that are all lost cost a poll, no more", async () => {
    const { queue, gate, run } = holding()
    gate.open()
    const proxy = await proxied()
    proxy.notifications = "none"
    await g.work({ queues: [queue], poll: "500ms" }, { connectionString: proxy.url })
    g.open()
    for (let round = 0; round < 3; round++) {
      const asked = performance.now()
      const job = await run.enqueue("x")
      await waitFor(async () => (await job.state()) === "completed")
      expect(performance.now() - asked).toBeLessThan(3_000)
    }
    const delayed = await run.with({ delay: "200ms" }).enqueue("x")
    await reaches(delayed, "completed")
  })

  test("of strangers on our channel harm nobody", async () => {
    const { queue, gate, run } = holding()
    gate.open()
    await g.work({ queues: [queue], poll: 60 })
    g.open()
    const hostile = [
      "",
      "{}",
      "null",
      "[",
      "[]",
      '"j"',
      '["j"]',
      `["j", "${queue}", 99999, 1]`,
      `["j", "${queue}", -99999, 1]`,
      `["j", "${queue}", 5, -1]`,
      `["j", "${queue}", 5, 9007199254740991]`,
      `["j", "${queue}", 1.5, 2]`,
      '["j", "__proto__", 5, 1]',
      '["d", -1e308]',
      '["d", 1e308]',
      '["d", "soon"]',
      '["c", ["not-an-id", 5, null]]',
      `["c", [${Array.from({ length: 300 }, (_, i) => `"${i}"`)}]]`,
      '["e", {}]',
      '["q", "nothing"]',
      "x".repeat(7_900),
      "[".repeat(7_900),
    ]
    await Promise.all(hostile.map((payload) => g.db.query("select pg_notify('pgtusk:tusk', $1)", [payload])))
    for (const label of ["a", "b"]) expect(await (await run.enqueue(label)).result({ timeout: 10 })).toBe(label)
    const delayed = await run.with({ delay: "50ms" }).enqueue("c")
    expect(await delayed.result({ timeout: 10 })).toBe("c")
    expect([...g.messages("warn"), ...g.messages("error")]).toEqual([])
  })
})

describe("an event loop that is blocked for longer than the lease", () => {
  test.each(["block", "block-in-the-middle"] as const)(
    "is warned of, with the task's name, and no outcome is recorded twice: %s",
    async (name) => {
      const queue = g.name("q")
      const tusk = g.open()
      const blocked = await workerProcess(g.db.url, { queue, options: { ...SHORT, queues: { [queue]: 5 } } })
      const job = await enqueue(tusk, queue, name, [5_000])
      await blocked.line(`began ${job.id}`)
      task({ name, queue }, () => "taken over")
      const events = eventsOf(tusk)
      const other = await tusk.work({ ...SHORT, queues: [queue] })
      expect(await job.result({ timeout: 25 })).toBe("taken over")
      expect(await blocked.line("the event loop was blocked", 20_000)).toContain(`"${name}"`)
      // It lives, and has understood: its own late outcome was fenced off.
      const next = await enqueue(tusk, queue, "hold")
      await other.stop()
      await blocked.line(`began ${next.id}`, 20_000)
      expect(await job.snapshot()).toMatchObject({ state: "completed", result: "taken over", worker: other.id, attempt: 2 })
      expect(events.filter((e) => e.id === job.id && e.name === "job:completed")).toHaveLength(1)
    },
    60_000,
  )
})
