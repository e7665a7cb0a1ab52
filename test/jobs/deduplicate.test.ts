import { beforeEach, describe, expect, test } from "vitest"
import { InvalidOptionError } from "../../src/api/errors.js"
import type { Job } from "../../src/api/job.js"
import type { DeduplicateOptions } from "../../src/api/options.js"
import { currentJob, task } from "../../src/index.js"
import { deferred, waitFor } from "../support/wait.js"
import { bench, rejection, startWorker } from "./setup.js"

const on = bench()
let gate = deferred()
const ran: unknown[] = []
beforeEach(() => {
  gate = deferred()
  ran.length = 0
})
const work = task({ name: "work" }, async (what: string) => {
  ran.push(what)
  if (what === "hold") await gate.promise
  if (what.startsWith("flaky") && currentJob().attempt === 1) throw new Error("flaky")
  if (what === "broken") throw new Error("broken")
  return what
})

const enqueue = (what: string, deduplicate: string | DeduplicateOptions, more: object = {}): Promise<Job<string>> =>
  work.with({ via: on.tusk, deduplicate, ...more }).enqueue(what)
const count = async (): Promise<number> => (await on.db.query<{ n: number }>("select count(*)::int as n from tusk.jobs"))[0]!.n
/** Moves the clock for keys: they all become this much older. */
const age = (time: string): Promise<unknown> => on.db.query("update tusk.keys set until = until - $1::interval", [time])

describe("a simple key", () => {
  test("I8: holds while its owner waits and runs, and a duplicate's handle is the owner's", async () => {
    const first = await enqueue("hold", "k")
    const waiting = await enqueue("b", { key: "k" })
    expect([waiting.created, waiting.id]).toEqual([false, first.id])
    await startWorker(on.tusk, { queues: ["default"] })
    await waitFor(() => ran.length === 1)
    const active = await enqueue("c", "k")
    expect([active.created, active.id]).toEqual([false, first.id])
    gate.resolve()
    expect(await active.result()).toBe("hold")
    expect(ran).toEqual(["hold"])
  })

  test.each(["a", "broken"])("is free once its owner has finished (%s)", async (what) => {
    await startWorker(on.tusk, { queues: ["default"] })
    const first = await enqueue(what, "k")
    await first.settled()
    const second = await enqueue("again", "k")
    expect(second.created).toBe(true)
    expect(await second.result()).toBe("again")
  })

  test("is free once its owner is cancelled, expired or removed", async () => {
    const cancelled = await enqueue("a", "k")
    await cancelled.cancel()
    const removed = await enqueue("b", "k")
    expect(removed.created).toBe(true)
    await removed.remove()
    const expired = await enqueue("c", "k", { ttl: "50ms", delay: 60 })
    expect(expired.created).toBe(true)
    await startWorker(on.tusk, { queues: ["nothing"] })
    await waitFor(async () => (await expired.state()) === "expired")
    expect((await enqueue("d", "k")).created).toBe(true)
  })

  test("holds through a retry of its owner", async () => {
    await startWorker(on.tusk, { queues: ["default"] })
    const first = await enqueue("flaky", "k", { retries: 1, backoff: { fixed: 3600 } })
    await waitFor(async () => (await first.state()) === "delayed")
    expect((await enqueue("b", "k")).id).toBe(first.id)
    await first.promote()
    expect(await first.result()).toBe("flaky")
    expect((await enqueue("c", "k")).created).toBe(true)
  })

  test("is of its queue", async () => {
    const [a, b] = [await enqueue("a", "k", { queue: "q1" }), await enqueue("b", "k", { queue: "q2" })]
    expect([a.created, b.created]).toEqual([true, true])
  })

  test("any text will do, and a queue's name and a key cannot be taken for each other", async () => {
    const keys = ["a:b", "123", " ", "漢字 🐘", 'it\'s "x" \\', "x".repeat(1_000)]
    for (const key of keys) expect((await enqueue(key, key)).created, key).toBe(true)
    for (const key of keys) expect((await enqueue(key, key)).created, key).toBe(false)
    expect((await enqueue("x", "b", { queue: "a:" })).created).toBe(true)
    expect(await count()).toBe(keys.length + 1)
  })
})

describe("a key with a ttl (throttle)", () => {
  test("I8: is held for exactly that long from the first add, although its owner has finished", async () => {
    await startWorker(on.tusk, { queues: ["default"] })
    const first = await enqueue("a", { key: "k", ttl: 60 })
    await first.result()
    await age("59 seconds")
    const second = await enqueue("b", { key: "k", ttl: 60 })
    expect([second.created, second.id, await second.result()]).toEqual([false, first.id, "a"])
    await age("1 second")
    const third = await enqueue("c", { key: "k", ttl: 60 })
    expect(third.created).toBe(true)
    const fourth = await enqueue("d", { key: "k", ttl: 60 })
    expect([fourth.created, fourth.id]).toEqual([false, third.id])
  })

  test("is free when its time is over, although its owner has not finished", async () => {
    const first = await enqueue("a", { key: "k", ttl: "10m" })
    await age("10 minutes")
    const second = await enqueue("b", { key: "k", ttl: "10m" })
    expect(second.created).toBe(true)
    // The end of the first must not free the second's key.
    await first.cancel()
    expect((await enqueue("c", { key: "k", ttl: "10m" })).id).toBe(second.id)
  })

  test("I9: the database's clock measures it", async () => {
    await enqueue("a", { key: "k", ttl: "250ms" })
    const [row] = await on.db.query(
      "select round(extract(epoch from k.until - j.created_at) * 1000)::int as ms from tusk.keys k join tusk.jobs j on j.id = k.job_id",
    )
    expect(row.ms).toBeGreaterThanOrEqual(250)
    expect(row.ms).toBeLessThan(2_000)
  })

  test("a duplicate does not prolong it; with extend it begins anew", async () => {
    await enqueue("a", { key: "plain", ttl: 100 })
    await enqueue("a", { key: "extended", ttl: 100 })
    await age("90 seconds")
    await enqueue("b", { key: "plain", ttl: 100 })
    await enqueue("b", { key: "extended", ttl: 100, extend: true })
    await age("20 seconds")
    expect((await enqueue("c", { key: "plain", ttl: 100 })).created).toBe(true)
    expect((await enqueue("c", { key: "extended", ttl: 100, extend: true })).created).toBe(false)
  })
})

describe("replace (debounce)", () => {
  const debounce = (what: string, more: object = {}, key: object = {}): Promise<Job<string>> =>
    enqueue(what, { key: "k", replace: true, ...key }, { delay: 60, ...more })

  test("the last arguments, options and due time win; it stays the same job", async () => {
    const first = await debounce("a", { priority: 1, headers: { n: "1" }, ttl: 3600 })
    const second = await debounce("b", { priority: 9, headers: { n: "2" }, delay: 3600, retries: 4, timeout: 5, ttl: 7200 })
    expect([second.created, second.id]).toEqual([false, first.id])
    const snapshot = await first.snapshot()
    expect(snapshot).toMatchObject({ args: ["b"], state: "delayed", priority: 9, headers: { n: "2" }, maxAttempts: 5 })
    const [row] = await on.db.query(
      "select round(extract(epoch from run_at - now()) / 60)::int as due, round(extract(epoch from expires_at - now()) / 60)::int as ttl, options from tusk.jobs",
    )
    expect(row).toEqual({ due: 60, ttl: 120, options: { timeoutMs: 5_000 } })
    expect(await count()).toBe(1)
  })

  test("options that the duplicate leaves out are gone", async () => {
    const first = await debounce("a", { headers: { n: "1" }, ttl: 3600, timeout: 5, retries: 3 })
    await debounce("b")
    expect(await first.snapshot()).toMatchObject({ headers: {}, expiresAt: null, maxAttempts: 1 })
    expect(await on.db.query("select options from tusk.jobs")).toEqual([{ options: null }])
  })

  test("every caller's handle resolves with the last, and the job runs once, at the last time", async () => {
    await startWorker(on.tusk, { queues: ["default"] })
    const jobs: Job<string>[] = []
    for (const what of ["a", "b", "c"]) jobs.push(await debounce(what, { delay: what === "c" ? "20ms" : 60 }))
    expect(await Promise.all(jobs.map((job) => job.result()))).toEqual(["c", "c", "c"])
    expect(ran).toEqual(["c"])
  })

  test("without a delay a duplicate makes it due now", async () => {
    await startWorker(on.tusk, { queues: ["default"], poll: "60s" })
    const first = await debounce("a", { delay: 3600 })
    await enqueue("b", { key: "k", replace: true })
    expect(await first.result({ timeout: 10 })).toBe("b")
  })

  test("concurrent calls of one process, which leave in one statement: the last one wins", async () => {
    const jobs = await Promise.all(Array.from({ length: 200 }, (_, i) => debounce(`call ${i}`, { priority: i })))
    expect(new Set(jobs.map((job) => job.id)).size).toBe(1)
    expect(jobs.filter((job) => job.created)).toHaveLength(1)
    expect(await jobs[0]!.snapshot()).toMatchObject({ args: ["call 199"], priority: 199, state: "delayed" })
    // And so on top of one that is stored.
    await Promise.all(Array.from({ length: 200 }, (_, i) => debounce(`again ${i}`)))
    expect(await jobs[0]!.snapshot()).toMatchObject({ args: ["again 199"], priority: 5 })
    expect(await count()).toBe(1)
  })

  test("inside one call of many too", async () => {
    const call = (what: string) => work.call(what).with({ deduplicate: { key: "k", replace: true }, delay: 60 })
    const jobs = await on.tusk.enqueueMany([call("a"), call("b"), call("c").with({ delay: 120 })])
    expect(jobs.map((job) => job.created)).toEqual([true, false, false])
    expect((await jobs[0]!.snapshot()).args).toEqual(["c"])
    const [row] = await on.db.query("select round(extract(epoch from run_at - created_at))::int as due from tusk.jobs")
    expect(row).toEqual({ due: 120 })
  })

  test("an owner that is not delayed any more keeps what it has", async () => {
    const waiting = await enqueue("a", { key: "k", replace: true })
    const duplicate = await debounce("b")
    expect(duplicate.id).toBe(waiting.id)
    expect(await waiting.snapshot()).toMatchObject({ args: ["a"], state: "waiting" })
  })

  test("an owner that waits for its retry starts afresh: attempts and error are reset", async () => {
    await startWorker(on.tusk, { queues: ["default"] })
    const first = await debounce("flaky", { delay: 0, retries: 2, backoff: { fixed: 3600 } })
    await waitFor(async () => (await first.state()) === "delayed")
    expect(await first.snapshot()).toMatchObject({ attempt: 1, error: { message: "flaky" } })
    await debounce("flaky again", { delay: 3600, retries: 1, backoff: 0 })
    expect(await first.snapshot()).toMatchObject({ attempt: 0, maxAttempts: 2, attempts: [], error: null, args: ["flaky again"] })
    await first.promote()
    expect(await first.result()).toBe("flaky again")
    expect((await first.snapshot()).attempts.map((a) => [a.attempt, a.error?.message ?? null])).toEqual([
      [1, "flaky"],
      [2, null],
    ])
  })

  test("with a ttl it is held for that time, and each duplicate replaces", async () => {
    const first = await debounce("a", {}, { ttl: 100 })
    await debounce("b", {}, { ttl: 100 })
    expect((await first.snapshot()).args).toEqual(["b"])
    await age("100 seconds")
    expect((await debounce("c", {}, { ttl: 100 })).created).toBe(true)
  })

  test("a duplicate of another task makes it a job of that task, since the arguments are its own", async () => {
    const other = task({ name: "other" }, async (n: number) => n + 1)
    await startWorker(on.tusk, { queues: ["default"] })
    const first = await debounce("a", { delay: 3600 })
    await other.with({ via: on.tusk, deduplicate: { key: "k", replace: true }, delay: "10ms" }).enqueue(1)
    expect(await first.result()).toBe(2)
  })
})

describe("a task's own deduplicate", () => {
  test("makes the key from the arguments; the job's option wins over it", async () => {
    const sync = task({ name: "sync", deduplicate: (user) => ({ key: `user ${user.toLowerCase()}`, ttl: "1h" }) }, async (_user: string) => {})
    const view = sync.with({ via: on.tusk })
    const a = await view.enqueue("a")
    expect((await view.enqueue("A")).id).toBe(a.id)
    expect((await view.enqueue("b")).created).toBe(true)
    expect((await view.with({ deduplicate: "another" }).enqueue("a")).created).toBe(true)
  })

  test("one that throws or gives no key is an error that says so", async () => {
    const broken = task({ name: "broken-key", deduplicate: (x: { id: string }) => x.id }, async (_x: { id: string }) => {})
    for (const [argument, message] of [
      [null, /deduplicate\(\) of task "broken-key" threw: Cannot read properties of null/],
      [{ id: 5 }, /The result of deduplicate\(\) of task "broken-key" is 5, which is not a key/],
    ] as const) {
      const error = await rejection((broken.with({ via: on.tusk }).enqueue as (x: unknown) => Promise<unknown>)(argument))
      expect(error).toBeInstanceOf(InvalidOptionError)
      expect(error.message).toMatch(message)
    }
  })
})

describe("wrong rules", () => {
  test.each([
    [{ key: "" }, /key of option "deduplicate".* which is empty/i],
    [{ key: "k", ttl: -5 }, /ttl of option "deduplicate".* is -5, which is negative/i],
    [{ key: "k", ttl: 0 }, /is 0, which is no time at all/],
    [{ key: "k", extend: true }, /extend of option "deduplicate".* needs a time to extend; add a ttl/i],
    [{ key: "k", replase: true }, /unknown key "replase"; did you mean replace\?/],
    [{ key: "x".repeat(1_001) }, /1001 characters/],
    [{ key: "é".repeat(600) }, /1200 bytes long.*write at most 1000, or a hash of it/],
    [7, /is 7, which is not a key; write a string, or \{ key:/],
  ])("%j", async (deduplicate, message) => {
    const error = await rejection((async () => enqueue("a", deduplicate as DeduplicateOptions))())
    expect(error).toBeInstanceOf(InvalidOptionError)
    expect(error.message).toMatch(message)
    expect(await count()).toBe(0)
  })
})
