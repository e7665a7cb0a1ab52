import pg from "pg"
import { describe, expect, test } from "vitest"
import { currentJob, snooze, task } from "../../src/index.js"
import { waitFor } from "../support/wait.js"
import { eventsOf, Gate, ground, reaches } from "./ground.js"

const g = ground()

/** A task that waits at a gate: one that heeds its signal, and one that does not. */
function holding(queue = g.name("q")) {
  const gate = new Gate()
  const reasons: unknown[] = []
  const watch = (): AbortSignal => {
    const { signal } = currentJob()
    signal.addEventListener("abort", () => reasons.push(signal.reason))
    return signal
  }
  const heeding = task({ name: g.name("heeds"), queue, retries: 3, backoff: 0 }, (label: string) => gate.pass(label, watch()))
  const stubborn = task({ name: g.name("ignores"), queue, retries: 3, backoff: 0 }, async (label: string) => {
    watch()
    await gate.pass(label)
    return "a result all the same"
  })
  return { queue, gate, reasons, heeding, stubborn }
}

describe("cancel()", () => {
  test("ends waiting, delayed and blocked jobs at once; they never run", async () => {
    const { queue, gate, heeding } = holding()
    const tusk = g.open()
    const waiting = await heeding.enqueue("waiting")
    const delayed = await heeding.with({ delay: "1h" }).enqueue("delayed")
    const blocked = await heeding.with({ dependsOn: [delayed] }).enqueue("blocked")
    for (const job of [blocked, waiting, delayed]) {
      expect(await job.cancel("not needed")).toBe(true)
      expect(await job.settled({ timeout: 5 })).toMatchObject({ ok: false, error: { code: "JOB_CANCELLED", message: "not needed" } })
      expect(await g.row(job.id)).toMatchObject({
        live: false,
        state: "cancelled",
        attempt: 0,
        error: { name: "JobCancelledError", message: "not needed" },
      })
      expect(await job.cancel()).toBe(false)
    }
    await tusk.work({ queues: [queue] })
    const marker = await heeding.enqueue("marker")
    await waitFor(() => gate.arrived.includes("marker"))
    gate.open()
    await marker.result({ timeout: 10 })
    expect(gate.arrived).toEqual(["marker"])
  })

  test("aborts a running handler with its reason; the job ends cancelled, without a retry", async () => {
    const { queue, gate, reasons, heeding } = holding()
    const tusk = g.open()
    const events = eventsOf(tusk)
    await tusk.work({ queues: [queue] })
    const job = await heeding.enqueue("x")
    await waitFor(() => gate.waiting === 1)
    expect(await job.cancel("changed my mind")).toBe(true)
    expect(await job.settled({ timeout: 10 })).toMatchObject({ error: { code: "JOB_CANCELLED", message: "changed my mind" } })
    expect(reasons).toEqual([expect.objectContaining({ code: "JOB_CANCELLED", message: "changed my mind" })])
    expect(await job.snapshot()).toMatchObject({ state: "cancelled", attempt: 1, error: { message: "changed my mind" } })
    const ends = events.filter((e) => !["job:added", "job:started"].includes(e.name))
    expect(ends).toEqual([
      expect.objectContaining({ name: "job:cancelled", id: job.id, error: expect.objectContaining({ message: "changed my mind" }) }),
    ])
  })

  test("ends the job although its handler goes on; the late result is dropped and tells nobody", async () => {
    const { queue, gate, stubborn } = holding()
    const tusk = g.open()
    const events = eventsOf(tusk)
    const worker = await tusk.work({ queues: [queue] })
    const job = await stubborn.enqueue("x")
    await waitFor(() => gate.waiting === 1)
    await job.cancel("enough")
    await reaches(job, "cancelled")
    gate.open()
    await worker.drain()
    expect(await job.snapshot()).toMatchObject({ state: "cancelled", result: undefined, error: { message: "enough" } })
    expect(events.map((e) => e.name)).toEqual(["job:added", "job:started", "job:cancelled"])
  })

  test("wins over a result that is on its way", async () => {
    const { queue, gate, stubborn } = holding()
    const tusk = g.open()
    const events = eventsOf(tusk)
    await tusk.work({ queues: [queue] })
    const job = await stubborn.enqueue("x")
    await waitFor(() => gate.waiting === 1)
    // By SQL, so that no signal reaches the handler before it returns.
    await g.db.query("select tusk.cancel_jobs(array[$1::uuid], 'by hand')", [job.id])
    gate.open()
    expect(await job.settled({ timeout: 10 })).toMatchObject({ error: { code: "JOB_CANCELLED", message: "by hand" } })
    await waitFor(() => events.some((e) => e.name === "job:cancelled"))
    expect(events.find((e) => e.name === "job:cancelled")!.error).toMatchObject({ name: "JobCancelledError", message: "by hand" })
    expect(events.some((e) => e.name === "job:completed")).toBe(false)
  })

  test.each(["snoozes", "fails and would be retried", "goes back because its worker stops"])(
    "that commits at the very moment when a run %s ends the job then",
    async (way) => {
      const queue = g.name("q")
      const gate = new Gate()
      const run = task({ name: g.name("t"), queue, retries: 3 }, async () => {
        await gate.pass("x", currentJob().signal)
        if (way === "snoozes") snooze("1h")
        throw new Error("again")
      })
      g.open()
      const worker = await g.work({ queues: [queue] })
      const job = await run.enqueue()
      await waitFor(() => gate.waiting === 1)
      const admin = new pg.Client({ connectionString: g.db.url })
      await admin.connect()
      try {
        await admin.query("begin")
        await admin.query("select tusk.cancel_jobs(array[$1::uuid], 'at the same time')", [job.id])
        const stopped = way === "goes back because its worker stops" ? worker.stop() : gate.open()
        const waits = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like '%settle%'"
        await waitFor(async () => (await g.db.query(waits)).length === 1, { what: "the outcome to wait for the cancel" })
        await admin.query("commit")
        await stopped
      } finally {
        await admin.end()
      }
      expect(await job.settled({ timeout: 10 })).toMatchObject({ error: { code: "JOB_CANCELLED", message: "at the same time" } })
    },
  )

  test("reaches a handler by the heartbeat when the notification is lost", async () => {
    const { queue, gate, reasons, heeding } = holding()
    // A lease of one second is lost by a machine that has no time for a quarter of one.
    await g.work({ queues: [queue], lease: 4 })
    const job = await heeding.enqueue("x")
    await waitFor(() => gate.waiting === 1)
    await g.db.query("select tusk.cancel_jobs(array[$1::uuid], 'quietly')", [job.id])
    await reaches(job, "cancelled")
    expect(reasons).toEqual([expect.objectContaining({ message: "quietly" })])
  })

  test("of what is claimed and has not started keeps it from starting", async () => {
    const queue = g.name("q")
    const gate = new Gate()
    const ran: number[] = []
    const quick = task({ name: g.name("t"), queue }, async (n: number) => {
      ran.push(n)
      if (n === 60) await gate.pass("slow")
    })
    const tusk = g.open()
    const jobs = await quick.enqueueMany(Array.from({ length: 200 }, (_, n) => [n]))
    await tusk.work({ queues: { [queue]: 1 } })
    await waitFor(() => gate.waiting === 1)
    const next = jobs[61]!
    await reaches(next, "active")
    expect(await next.cancel()).toBe(true)
    gate.open()
    await reaches(next, "cancelled")
    await waitFor(() => ran.length === 199)
    expect(ran).not.toContain(61)
  })

  test("of many at once, while they run, start and end: each ends once, cancelled or completed", async () => {
    const queue = g.name("q")
    const quick = task({ name: g.name("t"), queue }, async (n: number) => {
      await new Promise((resolve) => setTimeout(resolve, n % 7))
      return n
    })
    const tusk = g.open()
    const events = eventsOf(tusk)
    await tusk.work({ queues: { [queue]: 20 } })
    const jobs = await quick.enqueueMany(Array.from({ length: 300 }, (_, n) => [n]))
    const told = await Promise.all(jobs.map(async (job, n) => n % 2 === 0 && (await job.cancel(`no ${n}`))))
    const outcomes = await Promise.all(jobs.map((job) => job.settled({ timeout: 20 })))
    outcomes.forEach((outcome, n) => {
      // Whoever was told that it was cancelled finds it cancelled.
      expect(outcome.ok ? outcome.value : outcome.error.message).toEqual(told[n] ? `no ${n}` : n)
    })
    await waitFor(() => events.filter((e) => e.name === "job:completed").length === told.filter((did) => !did).length)
    expect(await g.counts(queue)).toEqual({
      ...(told.some((did) => did) ? { cancelled: told.filter((did) => did).length } : {}),
      completed: told.filter((did) => !did).length,
    })
  })
})

describe("remove()", () => {
  test("of a live or finished job leaves nothing of it", async () => {
    const { queue, gate, heeding } = holding()
    const tusk = g.open()
    const waiting = await heeding.enqueue("x")
    const delayed = await heeding.with({ delay: "1h", id: g.name("custom") }).enqueue("x")
    for (const job of [waiting, delayed]) {
      expect(await job.remove()).toBe(true)
      await expect(job.state()).rejects.toMatchObject({ code: "UNKNOWN_JOB" })
      expect(await job.remove()).toBe(false)
    }
    gate.open()
    await tusk.work({ queues: [queue] })
    const done = await heeding.enqueue("y")
    await done.result({ timeout: 10 })
    expect(await done.remove()).toBe(true)
    expect(await g.counts(queue)).toEqual({})
    expect(await g.db.query("select 1 from tusk.keys where queue = $1", [queue])).toEqual([])
  })

  test("of a running job aborts it and drops its outcome", async () => {
    const { queue, gate, reasons, heeding, stubborn } = holding()
    const tusk = g.open()
    const events = eventsOf(tusk)
    const worker = await tusk.work({ queues: [queue] })
    const jobs = [await heeding.enqueue("x"), await stubborn.enqueue("y")]
    await waitFor(() => gate.waiting === 2)
    for (const job of jobs) expect(await job.remove()).toBe(true)
    await waitFor(() => reasons.length === 2)
    expect(reasons).toEqual(Array(2).fill(expect.objectContaining({ code: "LEASE_LOST" })))
    gate.open()
    await worker.drain()
    expect(await g.counts(queue)).toEqual({})
    expect(new Set(events.map((e) => e.name))).toEqual(new Set(["job:added", "job:started"]))
  })
})

test("an id that is none, or belongs to no job, is nothing to cancel, remove, retry, promote or reschedule", async () => {
  const tusk = g.open()
  for (const id of ["", "7", "not-an-id", crypto.randomUUID()]) {
    const job = tusk.job(id)
    expect([await job.cancel(), await job.remove(), await job.retry(), await job.promote(), await job.reschedule(5)]).toEqual(Array(5).fill(false))
  }
})
