/** One queue's administration: counts, drain, clean, obliterate, dead letters and their redrive, cancel in bulk, keys, retention. */
import { describe, expect, test } from "vitest"
import { currentJob, InvalidOptionError, type Job, NonRetryableError, task } from "../../src/index.js"
import { connect, waitForLock } from "../jobs/setup.js"
import { spawnScript } from "../support/process.js"
import { waitFor } from "../support/wait.js"
import { Gate, ground, reaches } from "../worker/ground.js"

const on = ground()

/** A task of its own queue that fails while `fails` says so, and can be held. */
function own() {
  const name = on.name("queue")
  const gate = new Gate()
  const state = { fails: true, holds: false, runs: [] as unknown[] }
  const made = task({ name, queue: name }, async (label: unknown) => {
    state.runs.push(label)
    if (state.holds) await gate.pass(String(label), currentJob().signal)
    if (state.fails) throw new NonRetryableError(`failed ${String(label)}`)
    return label
  })
  return { name, made, gate, state }
}
const idsOf = (jobs: readonly Job[]): string[] => jobs.map((job) => job.id)
const many = (n: number): [number][] => Array.from({ length: n }, (_, i) => [i])
const NONE = { waiting: 0, delayed: 0, blocked: 0, active: 0, completed: 0, failed: 0, expired: 0, cancelled: 0 }

describe("counts(), info() and queues()", () => {
  test("say how many jobs are in each state, since when, and who serves them", async () => {
    const tusk = on.open()
    const { name, made, gate, state } = own()
    const queue = tusk.queue(name)
    expect(await queue.counts()).toEqual(NONE)
    expect(await queue.info()).toEqual({ name, paused: false, counts: NONE, oldestWaiting: null, workers: 0 })
    expect((await tusk.queues()).map((info) => info.name)).not.toContain(name)
    state.fails = false
    state.holds = true
    const running = await made.enqueue("held")
    await tusk.work({ queues: { [name]: 1 } })
    await waitFor(() => gate.arrived.length === 1)
    const oldest = await made.enqueue("old")
    await made.enqueue("new")
    const delayed = await made.with({ delay: "1h" }).enqueue("later")
    await made.with({ dependsOn: [delayed] }).enqueue("blocked")
    await (await made.with({ delay: "1h" }).enqueue("x")).cancel()
    const counts = { ...NONE, waiting: 2, delayed: 1, blocked: 1, active: 1, cancelled: 1 }
    expect(await queue.counts()).toEqual(counts)
    const info = await queue.info()
    expect(info).toEqual({ name, paused: false, counts, oldestWaiting: (await oldest.snapshot()).createdAt, workers: 1 })
    expect((await tusk.queues()).find((each) => each.name === name)).toEqual(info)
    gate.open()
    await running.result()
  })

  test("queues() lists those that have a worker or settings alone, in order", async () => {
    const tusk = on.open()
    const [a, b] = [on.name("listed"), on.name("listed")]
    await tusk.queue(b).configure({ keep: { completed: "2d" } })
    await tusk.work({ queues: [a] })
    const mine = (await tusk.queues()).filter((info) => [a, b].includes(info.name))
    expect(mine).toMatchObject([
      { name: a, workers: 1, counts: NONE },
      { name: b, workers: 0, counts: NONE },
    ])
    const names = (await tusk.queues()).map((info) => info.name)
    expect(names).toEqual([...names].sort())
  })

  test("a name that is none", () => {
    const tusk = on.open()
    expect(() => tusk.queue("")).toThrow(InvalidOptionError)
    expect(() => tusk.queue(5 as never)).toThrow(/The name of a queue is 5/)
  })
})

describe("drain()", () => {
  test("removes waiting jobs and nothing else, unless asked for the delayed ones", async () => {
    const tusk = on.open()
    const { name, made } = own()
    const waiting = await made.enqueueMany(many(3))
    const delayed = await made.with({ delay: "1h" }).enqueue("later")
    const blocked = await made.with({ dependsOn: [delayed] }).enqueue("blocked")
    const elsewhere = await made.with({ queue: `${name}-other` }).enqueue("elsewhere")
    const queue = tusk.queue(name)
    expect((await queue.drain()).sort()).toEqual(idsOf(waiting).sort())
    expect(await queue.counts()).toEqual({ ...NONE, delayed: 1, blocked: 1 })
    expect(await queue.drain()).toEqual([])
    expect(await queue.drain({ delayed: true })).toEqual([delayed.id])
    // Its parent gone, a blocked child can never run.
    expect(await blocked.state()).toBe("cancelled")
    expect(await elsewhere.state()).toBe("waiting")
    await expect(queue.drain({ all: true } as never)).rejects.toThrow(/"all"/)
  })

  test("thousands, in batches", async () => {
    const tusk = on.open()
    const { name, made } = own()
    await made.enqueueMany(many(2_500))
    expect(await tusk.queue(name).drain()).toHaveLength(2_500)
    expect(await tusk.queue(name).counts()).toEqual(NONE)
  })

  test("a job that a worker takes in the same moment is not drained", async () => {
    const tusk = on.open()
    const { name, made } = own()
    const [taken, left] = (await made.enqueueMany(many(2))) as [Job, Job]
    const client = await connect(on.db.url)
    await client.query("begin")
    await client.query("update tusk.jobs set state = 'active' where id = $1", [taken.id])
    const drained = tusk.queue(name).drain()
    await waitForLock(on.db)
    await client.query("commit")
    expect(await drained).toEqual([left.id])
    expect(await taken.state()).toBe("active")
  })
})

describe("clean()", () => {
  async function finished() {
    const tusk = on.open()
    const { name, made, state } = own()
    const failed = await made.enqueueMany(many(3))
    await tusk.work({ queues: [name] })
    await waitFor(async () => (await on.counts(name)).failed === 3)
    state.fails = false
    const completed = await made.enqueueMany(many(2))
    await Promise.all(completed.map((job) => job.result()))
    return { name, failed, completed, queue: tusk.queue(name) }
  }

  test("removes finished jobs of that state", async () => {
    const { failed, completed, queue } = await finished()
    expect((await queue.clean({ state: "failed" })).sort()).toEqual(idsOf(failed).sort())
    expect(await queue.counts()).toEqual({ ...NONE, completed: 2 })
    await expect(failed[0]!.state()).rejects.toMatchObject({ code: "UNKNOWN_JOB" })
    expect(await completed[0]!.state()).toBe("completed")
  })

  test("grace: those alone that finished before it; limit: the oldest", async () => {
    const { name, failed, queue } = await finished()
    await on.db.query("update tusk.finished_jobs set finished_at = finished_at - interval '2 hours' where id = any ($1)", [idsOf(failed.slice(0, 2))])
    await on.db.query("update tusk.finished_jobs set finished_at = finished_at - interval '1 hour' where id = $1", [failed[1]!.id])
    expect(await queue.clean({ state: "failed", grace: "4h" })).toEqual([])
    expect(await queue.clean({ state: "failed", grace: "1h", limit: 1 })).toEqual([failed[1]!.id])
    expect(await queue.clean({ state: "failed", grace: "1h" })).toEqual([failed[0]!.id])
    expect(await on.counts(name)).toEqual({ failed: 1, completed: 2 })
  })

  test.each([
    [
      { state: "waiting" },
      /clean\(\) got the state "waiting"; write one of completed, failed, expired, cancelled \(drain\(\) removes waiting jobs\)/,
    ],
    [{}, /clean\(\) got the state undefined/],
    [{ state: "failed", limit: 0 }, /limit 0; write a whole number above 0/],
    [{ state: "failed", grace: "soon" }, /grace is "soon"/],
    [{ state: "failed", olderThan: 5 }, /olderThan/],
  ])("%j is refused", async (options, message) => {
    await expect(
      on
        .open()
        .queue("x")
        .clean(options as never),
    ).rejects.toThrow(message)
  })
})

describe("obliterate()", () => {
  test("removes everything of the queue, and nothing of others", async () => {
    const tusk = on.open()
    const { name, made, state } = own()
    const queue = tusk.queue(name)
    const worker = await tusk.work({ queues: [name] })
    await reaches(await made.enqueue("dead"), "failed")
    state.fails = false
    await (await made.with({ id: "custom" }).enqueue("done")).result()
    await worker.drain()
    await queue.configure({ keep: { completed: "3d" } })
    const waiting = await made.with({ deduplicate: "k" }).enqueue("waits")
    const delayed = await made.with({ delay: "1h" }).enqueue("later")
    await made.with({ dependsOn: [delayed] }).enqueue("blocked")
    const child = await made.with({ queue: `${name}-other`, dependsOn: [waiting] }).enqueue("child")
    await made.schedule(`${name}.schedule`, { every: "1d" }, "x")
    await made.with({ queue: `${name}-other` }).schedule(`${name}.kept`, { every: "1d" }, "x")
    await queue.obliterate()
    expect(await queue.counts()).toEqual(NONE)
    expect(await queue.info()).toMatchObject({ paused: false, oldestWaiting: null })
    expect(await on.db.query("select 1 from tusk.keys where queue = $1 union all select 1 from tusk.queues where name = $1", [name])).toEqual([])
    expect([await tusk.schedules.get(`${name}.schedule`), (await tusk.schedules.get(`${name}.kept`))?.id]).toEqual([undefined, `${name}.kept`])
    expect(await child.state()).toBe("cancelled")
    // It can be used again.
    expect((await made.with({ id: "custom" }).enqueue("again")).created).toBe(true)
  })

  test("refuses while jobs run, and leaves the queue as it was; forced, it aborts them", async () => {
    const tusk = on.open()
    const { name, made, gate, state } = own()
    state.holds = true
    state.fails = false
    await tusk.work({ queues: [name] })
    const running = await made.enqueue("held")
    await waitFor(() => gate.arrived.length === 1)
    const waiting = await made.with({ delay: "1h" }).enqueue("waits")
    const queue = tusk.queue(name)
    await expect(queue.obliterate()).rejects.toThrow(/has 1 running jobs; wait for them, or write obliterate\(\{ force: true \}\)/)
    expect(await queue.info()).toMatchObject({ paused: false, counts: { ...NONE, active: 1, delayed: 1 } })
    await queue.pause()
    await expect(queue.obliterate()).rejects.toBeInstanceOf(InvalidOptionError)
    expect((await queue.info()).paused).toBe(true)
    await queue.obliterate({ force: true })
    expect(await queue.counts()).toEqual(NONE)
    for (const job of [running, waiting]) await expect(job.state()).rejects.toMatchObject({ code: "UNKNOWN_JOB" })
    await waitFor(() => on.messages("warn").some((message) => /given up/.test(message)))
  })

  test("thousands of jobs", async () => {
    const tusk = on.open()
    const { name, made } = own()
    await made.enqueueMany(many(2_100))
    await tusk.queue(name).obliterate()
    expect(await tusk.queue(name).counts()).toEqual(NONE)
  })
})

describe("dead letters", () => {
  async function dead(n: number) {
    const tusk = on.open()
    const { name, made, state, gate } = own()
    const jobs = await made.enqueueMany(many(n))
    const worker = await tusk.work({ queues: { [name]: 1 } })
    await waitFor(async () => (await on.counts(name)).failed === n)
    await worker.drain()
    return { tusk, name, made, state, gate, jobs, queue: tusk.queue(name) }
  }

  test("deadLetters() are the failed and the expired, not the cancelled", async () => {
    const { tusk, queue, jobs, made, name } = await dead(2)
    await (await made.with({ delay: "1h" }).enqueue("x")).cancel()
    const expired = await made.with({ ttl: "1ms", delay: "1h" }).enqueue("stale")
    await tusk.work({ queues: [name] })
    await reaches(expired, "expired")
    const page = await queue.deadLetters({ order: "oldest" })
    expect(page.jobs.map((job) => job.id)).toEqual([...idsOf(jobs), expired.id])
    expect((await queue.deadLetters({ text: "failed 1" })).jobs.map((job) => job.id)).toEqual([jobs[1]!.id])
    expect((await queue.deadLetters({ limit: 1 })).next).not.toBeNull()
  })

  test("redrive() takes them back with a fresh budget, the oldest finish first", async () => {
    const { tusk, queue, jobs, state, name, made } = await dead(4)
    // The last has been dead for longest.
    await on.db.query("update tusk.finished_jobs set finished_at = finished_at - interval '1 hour' where id = $1", [jobs[3]!.id])
    const completed = made.with({ queue: `${name}-other` })
    await completed.enqueue("elsewhere")
    expect(await queue.redrive({ preview: true })).toBe(4)
    expect(await queue.counts()).toEqual({ ...NONE, failed: 4 })
    expect(await queue.redrive()).toBe(4)
    expect(await queue.counts()).toEqual({ ...NONE, waiting: 4 })
    expect(await queue.redrive()).toBe(0)
    state.fails = false
    state.runs.length = 0
    await tusk.work({ queues: { [name]: 1 } })
    // A wait marks its job, and a claim passes over a row that is locked just then: waits begin when all have run.
    await waitFor(() => state.runs.length === 4)
    expect(state.runs).toEqual([3, 0, 1, 2])
    await Promise.all(jobs.map((job) => job.result()))
    expect(await jobs[0]!.snapshot()).toMatchObject({ attempt: 2, maxAttempts: 2 })
  })

  test("by filter and limit; preview says the same", async () => {
    const { queue, jobs, name } = await dead(5)
    expect(await queue.redrive({ preview: true, text: "failed 3" })).toBe(1)
    expect(await queue.redrive({ text: "failed 3" })).toBe(1)
    expect(await jobs[3]!.state()).toBe("waiting")
    expect(await queue.redrive({ preview: true, limit: 3 })).toBe(3)
    expect(await queue.redrive({ limit: 3 })).toBe(3)
    expect(await Promise.all(jobs.map((job) => job.state()))).toEqual(["waiting", "waiting", "waiting", "waiting", "failed"])
    expect(await queue.redrive({ preview: true, limit: 3 })).toBe(1)
    expect(await queue.redrive({ args: [99] })).toBe(0)
    expect(await on.counts(name)).toEqual({ waiting: 4, failed: 1 })
  })

  test("a job that fails again at once is not redriven twice", async () => {
    const { tusk, queue, jobs, state, name } = await dead(30)
    state.runs.length = 0
    await tusk.work({ queues: { [name]: 10 } })
    // Batches that are smaller than the whole, so that it looks again while they fail.
    expect(await queue.redrive({ rate: 40 })).toBe(30)
    await waitFor(async () => (await on.counts(name)).failed === 30)
    expect(state.runs).toHaveLength(30)
    expect((await Promise.all(jobs.map((job) => job.snapshot()))).every((job) => job.attempt === 2)).toBe(true)
  })

  test("rate: so many a second", async () => {
    const { queue } = await dead(20)
    const began = performance.now()
    expect(await queue.redrive({ rate: 20 })).toBe(20)
    expect(performance.now() - began).toBeGreaterThan(700)
    for (const rate of [0, -1, "5", Number.NaN])
      await expect(queue.redrive({ rate } as never)).rejects.toThrow(/rate .*; write jobs a second, above 0/)
  })

  test("two at once share them", async () => {
    const { queue, jobs, name } = await dead(40)
    const counts = await Promise.all([queue.redrive(), queue.redrive()])
    expect(counts[0]! + counts[1]!).toBe(40)
    expect(await on.counts(name)).toEqual({ waiting: jobs.length })
  })
})

describe("cancelAll()", () => {
  test("live jobs of every state, by filter", async () => {
    const tusk = on.open()
    const { name, made } = own()
    await made.enqueueMany(many(3))
    const delayed = await made.with({ delay: "1h" }).enqueue("later")
    await made.with({ dependsOn: [delayed] }).enqueue("blocked")
    const queue = tusk.queue(name)
    expect(await queue.cancelAll({ args: [1] })).toBe(1)
    expect(await queue.cancelAll({ state: "delayed" })).toBe(1)
    expect(await queue.counts()).toEqual({ ...NONE, waiting: 2, blocked: 1, cancelled: 2 })
    expect(await queue.cancelAll({ limit: 1 })).toBe(1)
    expect(await queue.cancelAll({})).toBe(2)
    expect(await queue.cancelAll({})).toBe(0)
    expect(await queue.counts()).toEqual({ ...NONE, cancelled: 5 })
    await expect(queue.cancelAll({ states: "waiting" } as never)).rejects.toThrow(/did you mean state/)
  })

  test("thousands", async () => {
    const tusk = on.open()
    const { name, made } = own()
    await made.enqueueMany(many(1_500))
    expect(await tusk.queue(name).cancelAll({})).toBe(1_500)
    expect(await on.counts(name)).toEqual({ cancelled: 1_500 })
  })

  test("running ones in another process too", { timeout: 120_000 }, async () => {
    const tusk = on.open()
    const name = on.name("far")
    const worker = spawnScript(new URL("../worker/fixtures/worker.ts", import.meta.url), [JSON.stringify({ queue: name })], { URL: on.db.url })
    await worker.line(/^ready /, 60_000)
    const jobs = await Promise.all(many(3).map(() => tusk.enqueue("hold", [], { queue: name })))
    const waiting = await tusk.enqueue("hold", [], { queue: name, delay: "1h" })
    await waitFor(async () => (await on.counts(name)).active === 3, { timeout: 30_000 })
    expect(await tusk.queue(name).cancelAll({})).toBe(4)
    await Promise.all(jobs.map((job) => worker.line(`aborted ${job.id} JobCancelledError`)))
    await waitFor(async () => (await on.counts(name)).cancelled === 4, { timeout: 30_000 })
    expect(await waiting.state()).toBe("cancelled")
    // Told already: there is nothing more to do.
    expect(await tusk.queue(name).cancelAll({})).toBe(0)
  })
})

describe("keys", () => {
  test("owner() and release(): the job stays, the key is free", async () => {
    const tusk = on.open()
    const { name, made } = own()
    const queue = tusk.queue(name)
    const job = await made.with({ deduplicate: "k" }).enqueue(1)
    expect([await queue.owner("k"), await queue.owner("none"), await tusk.queue("another").owner("k")]).toEqual([job.id, null, null])
    expect([await queue.release("k"), await queue.release("k"), await queue.owner("k")]).toEqual([true, false, null])
    expect(await job.state()).toBe("waiting")
    const second = await made.with({ deduplicate: "k" }).enqueue(2)
    expect(second.created).toBe(true)
    // The end of the first does not take the second's key.
    await job.cancel()
    expect(await queue.owner("k")).toBe(second.id)
  })

  test("a throttle that is over has no owner, and nothing to release", async () => {
    const tusk = on.open()
    const { name, made } = own()
    const queue = tusk.queue(name)
    await made.with({ deduplicate: { key: "t", ttl: "1ms" } }).enqueue(1)
    await waitFor(async () => (await queue.owner("t")) === null)
    expect(await queue.release("t")).toBe(false)
  })

  test("a custom id is no key of these", async () => {
    const tusk = on.open()
    const { name, made } = own()
    const job = await made.with({ id: "custom" }).enqueue(1)
    expect([await tusk.queue(name).owner("custom"), await tusk.queue(name).release("custom")]).toEqual([null, false])
    expect((await tusk.queue(name).job("custom"))?.id).toBe(job.id)
    expect(await tusk.queue(name).job("none")).toBeUndefined()
  })
})

describe("configure()", () => {
  test("keep counts for jobs that end after it, while workers run", async () => {
    const tusk = on.open()
    const { name, made, state } = own()
    state.fails = false
    const queue = tusk.queue(name)
    await tusk.work({ queues: [name] })
    const before = await made.enqueue("before")
    await before.result()
    await queue.configure({ keep: { completed: false, failed: "3d" } })
    const after = await made.enqueue("after")
    await waitFor(async () => (await on.db.query("select 1 from tusk.jobs where id = $1", [after.id])).length === 0)
    await expect(after.state()).rejects.toMatchObject({ code: "UNKNOWN_JOB" })
    expect(await before.state()).toBe("completed")
    state.fails = true
    const failed = await made.enqueue("failed")
    await reaches(failed, "failed")
    const days = async (job: Job): Promise<number> =>
      (await on.db.query("select drop_on - (finished_at at time zone 'UTC')::date as days from tusk.finished_jobs where id = $1", [job.id]))[0].days
    expect(await days(failed)).toBe(3)
    // The job's own wins.
    const kept = await made.with({ keep: { failed: "5d" } }).enqueue("kept")
    await reaches(kept, "failed")
    expect(await days(kept)).toBe(5)
    await queue.configure({ keep: {} })
    const stock = await made.enqueue("stock")
    await reaches(stock, "failed")
    expect(await days(stock)).toBe(14)
  })

  test("leaves a pause as it is, and a pause leaves it", async () => {
    const tusk = on.open()
    const name = on.name("settings")
    const queue = tusk.queue(name)
    await queue.pause()
    await queue.configure({ keep: { completed: "2d" } })
    expect((await queue.info()).paused).toBe(true)
    await queue.resume()
    expect(await on.db.query("select paused, keep from tusk.queues where name = $1", [name])).toEqual([
      { paused: false, keep: { completed: 172_800_000 } },
    ])
  })

  test("wrong values are refused", async () => {
    const queue = on.open().queue("x")
    await expect(queue.configure({ keep: { completed: "soon" as never } })).rejects.toThrow(/keep of queue "x"/)
    await expect(queue.configure({ kept: {} } as never)).rejects.toThrow(/kept/)
  })
})
