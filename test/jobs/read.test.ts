import { beforeEach, describe, expect, test } from "vitest"
import { InvalidOptionError, JobCancelledError, JobExpiredError, JobFailedError, UnknownJobError } from "../../src/api/errors.js"
import { currentJob, task } from "../../src/index.js"
import { spawnScript } from "../support/process.js"
import { deferred, waitFor } from "../support/wait.js"
import { bench, openTusk, rejection, startWorker } from "./setup.js"

const on = bench()
let gate = deferred()
beforeEach(() => {
  gate = deferred()
})
class Refused extends Error {
  override name = "Refused"
  code = "E_REFUSED"
}
const work = task({ name: "work", progress: true }, async (report, what: string): Promise<unknown> => {
  if (what === "hold") await gate.promise
  if (what === "progress") report(0.5, { at: new Date(5) })
  if (what === "throw") throw new Refused("no")
  if (what === "flaky" && currentJob().attempt < 3) throw new Error(`attempt ${currentJob().attempt}`)
  return what === "nothing" ? undefined : { what }
})
const view = () => work.with({ via: on.tusk })

describe("state and snapshot", () => {
  test("follow a job through its life", async () => {
    const job = await view().with({ delay: 3600, priority: 7, ttl: "2h" }).enqueue("hold")
    const delayed = await job.snapshot()
    expect(delayed).toMatchObject({ id: job.id, task: "work", queue: "default", state: "delayed", priority: 7, attempt: 0, maxAttempts: 1 })
    expect(delayed).toMatchObject({ startedAt: null, finishedAt: null, worker: null, result: undefined, error: null, progress: null, attempts: [] })
    expect(delayed.runAt!.getTime() - delayed.createdAt.getTime()).toBe(3_600_000)
    expect(delayed.expiresAt!.getTime() - delayed.createdAt.getTime()).toBe(7_200_000)
    await job.promote()
    expect(await job.state()).toBe("waiting")
    const worker = await startWorker(on.tusk, { queues: ["default"] })
    await waitFor(async () => (await job.state()) === "active")
    expect(await job.snapshot()).toMatchObject({ attempt: 1, worker: worker.id, startedAt: expect.any(Date), finishedAt: null })
    gate.resolve()
    await job.result()
    const done = await job.snapshot()
    expect(done).toMatchObject({ state: "completed", result: { what: "hold" }, attempt: 1, worker: worker.id, error: null })
    expect(done.finishedAt!.getTime()).toBeGreaterThanOrEqual(done.startedAt!.getTime())
    expect(done.attempts).toEqual([{ attempt: 1, startedAt: done.startedAt, endedAt: done.finishedAt, worker: worker.id, error: null }])
  })

  test("the history has every attempt with its error, the good one last", async () => {
    const worker = await startWorker(on.tusk, { queues: ["default"] })
    const job = await view().with({ retries: 5, backoff: 0 }).enqueue("flaky")
    await job.result()
    const { attempts, attempt, maxAttempts } = await job.snapshot()
    expect([attempt, maxAttempts]).toEqual([3, 6])
    expect(attempts.map(({ attempt, error }) => [attempt, error?.message ?? null])).toEqual([
      [1, "attempt 1"],
      [2, "attempt 2"],
      [3, null],
    ])
    for (const one of attempts) {
      expect(one.worker).toBe(worker.id)
      expect(one.endedAt.getTime()).toBeGreaterThanOrEqual(one.startedAt.getTime())
    }
    expect(attempts[1]!.startedAt.getTime()).toBeGreaterThanOrEqual(attempts[0]!.endedAt.getTime())
  })

  test("a failure keeps its name, message, code and stack", async () => {
    await startWorker(on.tusk, { queues: ["default"] })
    const job = await view().enqueue("throw")
    await job.settled()
    const { error, attempts, state } = await job.snapshot()
    expect(state).toBe("failed")
    expect(error).toEqual({ name: "Refused", message: "no", code: "E_REFUSED", stack: expect.stringContaining("read.test.ts") })
    expect(attempts).toHaveLength(1)
    expect(attempts[0]!.error).toEqual(error)
  })

  test("progress and its data come back as they were", async () => {
    await startWorker(on.tusk, { queues: ["default"] })
    const job = await view().enqueue("progress")
    await job.result()
    expect((await job.snapshot()).progress).toEqual({ fraction: 0.5, data: { at: new Date(5) } })
  })

  test("by id from another client, in either case of letters", async () => {
    await startWorker(on.tusk, { queues: ["default"] })
    const job = await view().enqueue("x")
    const other = openTusk({ connectionString: on.db.url })
    for (const id of [job.id, job.id.toUpperCase()]) {
      expect(await other.job(id).result({ timeout: 10 })).toEqual({ what: "x" })
      expect((await other.job(id).snapshot()).id).toBe(job.id)
    }
  })

  test.each(["01890000-0000-7000-8000-000000000000", "no uuid", ""])(
    "an id that does not exist (%j): UnknownJobError from each reader, false from each change",
    async (id) => {
      const job = on.tusk.job(id)
      for (const read of [() => job.state(), () => job.snapshot(), () => job.result(), () => job.settled({ timeout: 10 }), () => job.explain()]) {
        const error = await rejection(read())
        expect(error).toBeInstanceOf(UnknownJobError)
        expect(error.message).toContain("There is no job")
        expect(error.message).toContain(id)
      }
      const changes = [job.cancel(), job.retry(), job.promote(), job.remove(), job.reschedule(5)]
      expect(await Promise.all(changes)).toEqual([false, false, false, false, false])
    },
  )

  test("a job that was removed is unknown", async () => {
    const job = await view().enqueue("x")
    expect(await job.remove()).toBe(true)
    expect(await rejection(job.snapshot())).toBeInstanceOf(UnknownJobError)
  })
})

describe("result and settled", () => {
  test("the value, whether it is there already or comes later; undefined and null stay apart", async () => {
    await startWorker(on.tusk, { queues: ["default"] })
    const job = await view().enqueue("x")
    expect(await job.result()).toEqual({ what: "x" })
    expect(await job.result()).toEqual({ what: "x" })
    expect(await job.settled()).toEqual({ ok: true, value: { what: "x" } })
    expect(await (await view().enqueue("nothing")).result()).toBeUndefined()
    const nothing = task({ name: "null" }, async () => null)
    expect(await (await nothing.with({ via: on.tusk }).enqueue()).result()).toBeNull()
  })

  test("a failed job: JobFailedError with the snapshot, and what the handler threw as its cause", async () => {
    await startWorker(on.tusk, { queues: ["default"] })
    const job = await view().enqueue("throw")
    const error = await rejection(job.result())
    expect(error).toBeInstanceOf(JobFailedError)
    expect(error.message).toBe(`Job ${job.id} (task "work") failed: no`)
    expect(error.snapshot).toMatchObject({ id: job.id, state: "failed", attempt: 1 })
    expect(error.cause).toMatchObject({ name: "Refused", message: "no", code: "E_REFUSED" })
    const outcome = await job.settled()
    expect(outcome).toMatchObject({ ok: false, error: { code: "JOB_FAILED" } })
  })

  test("a cancelled and an expired job", async () => {
    const cancelled = await view().enqueue("x")
    await cancelled.cancel("not needed")
    const error = await rejection(cancelled.result())
    expect(error).toBeInstanceOf(JobCancelledError)
    expect(error.message).toBe("not needed")
    const expired = await view().with({ ttl: "20ms", queue: "nobody" }).enqueue("x")
    const waiting = rejection(expired.result())
    await startWorker(on.tusk, { queues: ["default"] })
    const end = await waiting
    expect(end).toBeInstanceOf(JobExpiredError)
    expect(end.message).toMatch(new RegExp(`Job ${expired.id} \\(task "work"\\) expired: Its ttl ran out`))
  })

  test("a job that is removed while somebody waits: UnknownJobError", async () => {
    const job = await view().with({ delay: 3600 }).enqueue("x")
    const waiting = rejection(job.result())
    await waitFor(async () => (await on.db.query("select 1 from tusk.jobs where watched")).length === 1)
    await job.remove()
    expect(await waiting).toBeInstanceOf(UnknownJobError)
  })

  test("a job that failed and is retried: the next wait sees its new end", async () => {
    const state = { broken: true }
    const mended = task({ name: "mended" }, async () => {
      if (state.broken) throw new Error("broken")
      return "mended"
    })
    await startWorker(on.tusk, { queues: ["default"] })
    const job = await mended.with({ via: on.tusk }).enqueue()
    expect((await job.settled()).ok).toBe(false)
    state.broken = false
    expect(await job.retry()).toBe(true)
    expect(await job.result({ timeout: 10 })).toBe("mended")
  })

  test("the worker is another process", async () => {
    const script = spawnScript(new URL("./fixtures/worker.ts", import.meta.url), [], { DATABASE_URL: on.db.url })
    await script.line("ready")
    const { tusk } = on
    const jobs = [
      await tusk.enqueue("double", [21]),
      await tusk.enqueue("break", ["because"]),
      await tusk.enqueue("send back", [new Map([[1n, new Date(7)]])]),
    ]
    expect(await jobs[0]!.result({ timeout: 10 })).toBe(42)
    const error = await rejection(jobs[1]!.result({ timeout: 10 }))
    expect(error).toBeInstanceOf(JobFailedError)
    expect(error.cause).toMatchObject({ name: "RangeError", message: "because", code: "E_BROKEN" })
    expect(await jobs[2]!.result({ timeout: 10 })).toEqual(new Map([[1n, new Date(7)]]))
  })

  test.each([
    [{ timeOut: 5 }, /result\(\) has an unknown key "timeOut"; did you mean timeout\?/],
    [{ timeout: -1 }, /timeout of result\(\) is -1, which is negative/],
    [{ timeout: Number.NaN }, /timeout of result\(\) is NaN, which is not a duration/],
    [{ timeout: 0 }, /is 0, which is no time at all/],
    [{ signal: {} }, /signal of result\(\) is \{\}, which is no AbortSignal/],
    ["5s", /result\(\) is "5s", which is not an object; write \{ timeout, signal \}/],
  ])("wrong options %j", async (options, message) => {
    const job = await view().enqueue("x")
    const error = await rejection(job.result(options as object))
    expect(error).toBeInstanceOf(InvalidOptionError)
    expect(error.message).toMatch(message)
  })
})
