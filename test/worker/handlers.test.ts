import { setTimeout as delay } from "node:timers/promises"
import { describe, expect, test } from "vitest"
import { type CurrentJob, currentJob, snooze, task } from "../../src/index.js"
import { waitFor } from "../support/wait.js"
import { eventsOf, Gate, ground } from "./ground.js"
import { thenable } from "./hostile.js"

const g = ground()

/** Runs one handler in a job and gives what became of it. */
async function runs<R>(handler: (...args: any[]) => R, ...args: unknown[]): Promise<Awaited<R>> {
  const queue = g.name("q")
  const run = task({ name: g.name("t"), queue }, handler)
  await g.work({ queues: [queue] })
  const job = await run.enqueue(...(args as []))
  return (await job.result({ timeout: 10 })) as Awaited<R>
}

describe("a handler", () => {
  test("may be synchronous", async () => {
    expect(await runs((a: number, b: number) => a + b, 2, 3)).toBe(5)
  })

  test("may be asynchronous, or return any thenable", async () => {
    expect(await runs(async (text: string) => `${await delay(5, text)}!`, "x")).toBe("x!")
    const later = (resolve: (value: string) => void) => void setTimeout(resolve, 5, "thenable")
    expect(await runs(() => thenable({ value: later }))).toBe("thenable")
  })

  test("gets the values that were enqueued, with their types, and its result keeps its types", async () => {
    const args = [new Date(0), 12n, new Uint8Array([1, 2]), new Map([["a", new Set([1])]]), undefined, { deep: [null, -0] }]
    const result = await runs((...given: unknown[]) => ({ given, at: new Date(5) }), ...args)
    expect(result).toEqual({ given: args, at: new Date(5) })
  })

  test("that returns nothing completes with undefined", async () => {
    expect(await runs(() => undefined)).toBeUndefined()
    expect(await runs(async () => undefined)).toBeUndefined()
  })
})

describe("currentJob()", () => {
  test("is at hand in nested calls, awaits, timers and listeners, and apart for each job", async () => {
    const queue = g.name("q")
    const seen: Record<string, string[]> = {}
    const gate = new Gate()
    async function nested(label: string): Promise<void> {
      await delay(1)
      seen[label]!.push(currentJob().id)
    }
    const look = task({ name: g.name("t"), queue }, async (label: string) => {
      seen[label] = [currentJob().id]
      await gate.pass(label)
      await Promise.all([nested(label), Promise.resolve().then(() => nested(label))])
      await new Promise<void>((resolve) => {
        setImmediate(() => {
          seen[label]!.push(currentJob().id)
          resolve()
        })
      })
      return currentJob().args
    })
    await g.work({ queues: { [queue]: 5 } })
    const jobs = await look.enqueueMany(["a", "b", "c", "d", "e"].map((label) => [label]))
    await waitFor(() => gate.waiting === 5)
    gate.open()
    for (const [i, job] of jobs.entries()) {
      const label = "abcde"[i]!
      expect(await job.result({ timeout: 10 })).toEqual([label])
      expect(seen[label]).toEqual(Array(4).fill(job.id))
    }
  })

  test("tells of the job", async () => {
    const queue = g.name("q")
    let job: CurrentJob | undefined
    const look = task({ name: g.name("t"), queue, retries: 2, backoff: 0 }, (n: number) => {
      job = currentJob()
      if (n === 1 && job.attempt === 1) throw new Error("again")
      return job.fence
    })
    await g.work({ queues: [queue] })
    const handle = await look.with({ headers: { trace: "abc" } }).enqueue(1)
    const fence = await handle.result({ timeout: 10 })
    const { createdAt } = await handle.snapshot()
    expect(job).toMatchObject({ id: handle.id, task: look.taskName, queue, args: [1], attempt: 2, maxAttempts: 3, scheduledFor: null })
    expect(job!.headers).toEqual({ trace: "abc" })
    expect(job!.createdAt).toEqual(createdAt)
    expect(job!.signal.aborted).toBe(false)
    expect(typeof fence).toBe("bigint")
    expect(() => job!.tx).toThrow(/transactional: true/)
    // Of a later claim it is higher.
    const next = await (await look.enqueue(2)).result({ timeout: 10 })
    expect(next > fence).toBe(true)
  })

  test("and snooze() outside of a job say so", () => {
    expect(() => currentJob()).toThrow(expect.objectContaining({ code: "NO_CURRENT_JOB" }))
    expect(() => snooze("soon" as never)).toThrow(expect.objectContaining({ code: "INVALID_OPTION" }))
  })
})

describe("progress", () => {
  test("is told as events and stored with the running job; the last one is never lost", async () => {
    const queue = g.name("q")
    const gate = new Gate()
    const report = task({ name: g.name("t"), queue, progress: true }, async (progress, rows: number) => {
      progress(0.25, { rows, at: new Date(0) })
      await gate.pass("half")
      progress(0.5)
      progress(1, "last words")
      return "done"
    })
    const tusk = g.open()
    const events = eventsOf(tusk)
    await tusk.work({ queues: [queue] })
    const job = await report.enqueue(7)
    await waitFor(async () => (await job.snapshot()).progress !== null, { what: "the progress to be stored while the job runs" })
    expect(await job.snapshot()).toMatchObject({ state: "active", progress: { fraction: 0.25, data: { rows: 7, at: new Date(0) } } })
    gate.open()
    expect(await job.result({ timeout: 10 })).toBe("done")
    expect((await job.snapshot()).progress).toEqual({ fraction: 1, data: "last words" })
    expect(events.filter((e) => e.name === "job:progress").map((e) => [e.progress, e.data])).toEqual([
      [0.25, { rows: 7, at: new Date(0) }],
      [0.5, undefined],
      [1, "last words"],
    ])
  })

  test("of a job that failed stays with it", async () => {
    const queue = g.name("q")
    const fail = task({ name: g.name("t"), queue, progress: true }, (progress) => {
      progress(0.75)
      throw new Error("no further")
    })
    await g.work({ queues: [queue] })
    const job = await fail.enqueue()
    await job.settled({ timeout: 10 })
    expect(await job.snapshot()).toMatchObject({ state: "failed", progress: { fraction: 0.75 } })
  })

  test("that is reported without end is written a few times a second", async () => {
    const queue = g.name("q")
    let told = 0
    const chatty = task({ name: g.name("t"), queue, progress: true }, async (progress) => {
      const end = performance.now() + 600
      while (performance.now() < end) {
        progress((told++ % 100) / 100)
        await delay(1)
      }
    })
    await g.db.query("create table progress_writes (at timestamptz default clock_timestamp())")
    await g.db.query(
      `create function note_write() returns trigger language plpgsql as $$ begin insert into progress_writes default values; return new; end $$`,
    )
    await g.db.query(
      "create trigger note after update of progress on tusk.jobs for each row when (new.progress is distinct from old.progress) execute function note_write()",
    )
    try {
      await g.work({ queues: [queue] })
      await (await chatty.enqueue()).result({ timeout: 10 })
      const [{ n }] = await g.db.query("select count(*)::int as n from progress_writes")
      expect(told).toBeGreaterThan(50)
      expect(n).toBeGreaterThanOrEqual(1)
      expect(n).toBeLessThanOrEqual(6)
    } finally {
      await g.db.query("drop trigger note on tusk.jobs")
    }
  })

  test("with a wrong fraction throws at the handler", async () => {
    const outcome = await runs(() => {
      for (const fraction of [-0.1, 1.1, Number.NaN, "half" as never]) {
        try {
          currentJob().reportProgress(fraction)
        } catch (error) {
          if (!/write a number from 0 to 1/.test((error as Error).message)) throw error
          continue
        }
        throw new Error(`took ${fraction}`)
      }
      return "refused"
    })
    expect(outcome).toBe("refused")
  })
})
