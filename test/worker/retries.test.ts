import { describe, expect, test } from "vitest"
import { type Backoff, currentJob, NonRetryableError, RetryAfterError, snooze, type TaskOptions, task } from "../../src/index.js"
import { deferred, waitFor } from "../support/wait.js"
import { eventsOf, ground, reaches } from "./ground.js"

const g = ground()

/** A task that fails `failures` times with what `fail` throws. */
function flaky(options: Omit<TaskOptions, "progress">, failures = Number.POSITIVE_INFINITY, fail: () => unknown = () => new Error("not yet")) {
  const queue = g.name("q")
  const attempts: number[] = []
  const run = task({ name: g.name("t"), queue, ...options }, (): string => {
    attempts.push(currentJob().attempt)
    if (attempts.length <= failures) throw fail()
    return "done"
  })
  return { queue, attempts, run }
}

/** What a job waits until its next run, as the database recorded it: milliseconds from the end of its last attempt. */
async function waitOf(id: string): Promise<number> {
  const row = await g.row(id)
  return Date.parse(row["run_at"]) - Date.parse(row["attempts"].at(-1).endedAt)
}

describe("a failed attempt", () => {
  test("is followed by another until one succeeds; the snapshot tells of all", async () => {
    const { queue, attempts, run } = flaky({ retries: 3, backoff: 0 }, 2)
    await g.work({ queues: [queue] })
    const job = await run.enqueue()
    expect(await job.result({ timeout: 10 })).toBe("done")
    expect(attempts).toEqual([1, 2, 3])
    const snapshot = await job.snapshot()
    expect(snapshot).toMatchObject({ state: "completed", attempt: 3, maxAttempts: 4 })
    expect(snapshot.attempts.map((a) => [a.attempt, a.error?.message ?? null])).toEqual([
      [1, "not yet"],
      [2, "not yet"],
      [3, null],
    ])
  })

  test("ends the job when no retry is left: it is a dead letter", async () => {
    const { queue, attempts, run } = flaky({ retries: 1, backoff: 0 })
    await g.work({ queues: [queue] })
    const job = await run.enqueue()
    expect(await job.settled({ timeout: 10 })).toMatchObject({ ok: false, error: { code: "JOB_FAILED", snapshot: { state: "failed" } } })
    expect(attempts).toEqual([1, 2])
    expect(await g.row(job.id)).toMatchObject({ live: false, state: "failed", attempt: 2, error: { name: "Error", message: "not yet" } })
  })

  test.each<[string, TaskOptions["backoff"], [number, number], [number, number]]>([
    ["an exponential base", 2, [2_000, 2_000], [4_000, 4_000]],
    ["a base with first, max and jitter", { base: 10, first: "1s", max: "5s", jitter: 0.5 }, [1_000, 1_500], [5_000, 7_500]],
    ["a fixed wait", { fixed: "7s" }, [7_000, 7_000], [7_000, 7_000]],
    ["steps, of which the last repeats", { steps: ["3s"] }, [3_000, 3_000], [3_000, 3_000]],
    ["steps", { steps: ["3s", "1m"] }, [3_000, 3_000], [60_000, 60_000]],
    [
      "a function",
      (retry: number, error: unknown) => `${retry * 11 + (error as Error).message.length}s` as const,
      [18_000, 18_000],
      [29_000, 29_000],
    ],
    ["a function that throws, as the default", () => JSON.parse("{"), [1_000, 1_100], [2_000, 2_200]],
    ["nothing, as the default", undefined, [1_000, 1_100], [2_000, 2_200]],
  ])("waits by its backoff: %s", async (_, backoff, first, second) => {
    const { queue, run } = flaky({ retries: 5, ...(backoff === undefined ? {} : { backoff }) })
    await g.work({ queues: [queue] })
    const job = await run.enqueue()
    for (const [least, most] of [first, second]) {
      await reaches(job, "delayed")
      const wait = await waitOf(job.id)
      // The instants in the history are of the same transaction, to the millisecond.
      expect(wait).toBeGreaterThanOrEqual(least - 1)
      expect(wait).toBeLessThanOrEqual(most + 1)
      const { attempt } = await job.snapshot()
      await job.promote()
      await waitFor(async () => (await job.snapshot()).attempt > attempt, { what: "the next attempt" })
    }
  })

  test("waits by the job's own backoff, if it has one", async () => {
    const { queue, run } = flaky({ retries: 1, backoff: 0 })
    await g.work({ queues: [queue] })
    const own: Backoff = { fixed: "30s" }
    const job = await run.with({ backoff: own }).enqueue()
    await reaches(job, "delayed")
    expect(Math.abs((await waitOf(job.id)) - 30_000)).toBeLessThanOrEqual(1)
  })

  test("returns when its time has come, without being asked", async () => {
    const { queue, run } = flaky({ retries: 1, backoff: { fixed: "300ms" } }, 1)
    await g.work({ queues: [queue], poll: 60 })
    const job = await run.enqueue()
    expect(await job.result({ timeout: 10 })).toBe("done")
    const { attempts } = await job.snapshot()
    const pause = attempts[1]!.startedAt.getTime() - attempts[0]!.endedAt.getTime()
    expect(pause).toBeGreaterThanOrEqual(299)
    // Precise timers, no polling: the poll is a minute away.
    expect(pause).toBeLessThan(3_000)
  })
})

describe("a handler decides", () => {
  test("NonRetryableError: no retry", async () => {
    const { queue, attempts, run } = flaky({ retries: 5 }, 1, () => new NonRetryableError("never"))
    await g.work({ queues: [queue] })
    const job = await run.enqueue()
    await expect(job.result({ timeout: 10 })).rejects.toMatchObject({ code: "JOB_FAILED" })
    expect(attempts).toEqual([1])
    expect((await job.snapshot()).error).toMatchObject({ name: "NonRetryableError", message: "never", code: "NON_RETRYABLE" })
  })

  test("RetryAfterError: its delay instead of the backoff", async () => {
    const { queue, run } = flaky({ retries: 1 }, 1, () => new RetryAfterError("45s", "busy"))
    await g.work({ queues: [queue] })
    const job = await run.enqueue()
    await reaches(job, "delayed")
    expect(Math.abs((await waitOf(job.id)) - 45_000)).toBeLessThanOrEqual(1)
    expect((await g.row(job.id))["error"]).toMatchObject({ name: "RetryAfterError", message: "busy" })
  })

  test("snooze: no attempt is used, as often as it likes, and the progress stays", async () => {
    const queue = g.name("q")
    const attempts: number[] = []
    const wait = task({ name: g.name("t"), queue, progress: true }, (report): string => {
      attempts.push(currentJob().attempt)
      report(attempts.length / 10)
      if (attempts.length < 4) snooze("1ms")
      if (attempts.length < 5) snooze("1m")
      return "woken"
    })
    const tusk = g.open()
    const events = eventsOf(tusk)
    await tusk.work({ queues: [queue] })
    const job = await wait.enqueue()
    await waitFor(() => attempts.length === 4)
    await reaches(job, "delayed")
    expect(await job.snapshot()).toMatchObject({ attempt: 0, maxAttempts: 1, error: null, attempts: [], progress: { fraction: 0.4 } })
    await job.promote()
    expect(await job.result({ timeout: 10 })).toBe("woken")
    expect(attempts).toEqual([1, 1, 1, 1, 1])
    expect(await job.snapshot()).toMatchObject({ attempt: 1 })
    expect(events.filter((e) => e.name === "job:snoozed")).toHaveLength(4)
    expect(events.some((e) => e.name === "job:retrying")).toBe(false)
  })

  test("onError: it may end the job, or give it more attempts than its budget", async () => {
    const seen: unknown[] = []
    const { queue, run, attempts } = flaky(
      {
        onError: (error, job) => {
          seen.push([(error as Error).message, job.attempt, currentJob().id === job.id])
          return job.attempt < 3 ? { retryIn: "1ms" } : "fail"
        },
      },
      9,
    )
    await g.work({ queues: [queue] })
    const job = await run.enqueue()
    await expect(job.result({ timeout: 10 })).rejects.toMatchObject({ code: "JOB_FAILED" })
    expect(attempts).toEqual([1, 2, 3])
    expect(seen).toEqual([
      ["not yet", 1, true],
      ["not yet", 2, true],
      ["not yet", 3, true],
    ])
  })
})

describe("timeout", () => {
  test("aborts the signal and fails the attempt", async () => {
    const queue = g.name("q")
    const reasons: unknown[] = []
    const slow = task({ name: g.name("t"), queue, timeout: "100ms", retries: 1, backoff: 0 }, async () => {
      const { signal } = currentJob()
      await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)))
    })
    const tusk = g.open()
    tusk.events.on("job:retrying", (event) => reasons.push(event.error?.name))
    await tusk.work({ queues: [queue] })
    const job = await slow.enqueue()
    await expect(job.result({ timeout: 10 })).rejects.toMatchObject({ code: "JOB_FAILED" })
    const { error, attempts } = await job.snapshot()
    expect(error).toMatchObject({ name: "JobTimeoutError", code: "JOB_TIMEOUT", message: expect.stringContaining("100 ms") })
    expect(attempts).toHaveLength(2)
    expect(reasons).toEqual(["JobTimeoutError"])
  })

  test("of a job wins over its task's", async () => {
    const queue = g.name("q")
    const slow = task({ name: g.name("t"), queue, timeout: "50ms" }, async () => {
      const over = deferred<string>()
      const timer = setTimeout(() => over.resolve("in time"), 200)
      currentJob().signal.addEventListener("abort", () => clearTimeout(timer))
      return over.promise
    })
    await g.work({ queues: [queue] })
    const job = await slow.with({ timeout: "1m" }).enqueue()
    expect(await job.result({ timeout: 10 })).toBe("in time")
  })

  test("lets the job go on, while a handler that ignores its signal keeps its slot", async () => {
    const queue = g.name("q")
    const first = deferred<string>()
    let calls = 0
    const stubborn = task({ name: g.name("t"), queue, timeout: "100ms", retries: 1, backoff: 0 }, (): Promise<string> | string =>
      ++calls === 1 ? first.promise : "second",
    )
    const worker = await g.work({ queues: { [queue]: 1 } })
    const job = await stubborn.enqueue()
    await waitFor(async () => (await job.snapshot()).attempts.length === 1)
    expect(await job.state()).toBe("waiting")
    // The only slot of this worker is taken; another worker runs it.
    const other = await g.work({ queues: { [queue]: 1 } })
    expect(await job.result({ timeout: 10 })).toBe("second")
    const snapshot = await job.snapshot()
    expect([snapshot.attempts[0]!.worker, snapshot.worker]).toEqual([worker.id, other.id])
    // Its late result changes nothing; its slot is free again.
    first.resolve("late")
    await other.stop()
    expect(await (await stubborn.enqueue()).result({ timeout: 10 })).toBe("second")
    expect((await job.snapshot()).result).toBe("second")
  })
})
