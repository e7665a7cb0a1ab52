/** The connection is lost after the statement was sent, so nobody told the producer whether it took effect. */
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { ConnectionError } from "../../src/api/errors.js"
import { task } from "../../src/index.js"
import { type FaultProxy, startProxy } from "../support/proxy.js"
import { waitFor, within } from "../support/wait.js"
import { bench, connect, openTusk, RecordingPool, rejection, startWorker, timed, waitForLock } from "./setup.js"

const on = bench()
let proxy: FaultProxy
beforeEach(async () => {
  proxy = await startProxy(on.db.url)
})
afterEach(() => proxy.close())

const runs: unknown[] = []
const once = task({ name: "once" }, async (what: string) => {
  runs.push(what)
  return what
})
beforeEach(() => {
  runs.length = 0
})

const everywhere = (): Promise<{ args: unknown; state: string }[]> =>
  on.db.query("select args, state::text from tusk.jobs union all select args, state::text from tusk.finished_jobs order by args")

const kinds = [
  ["a plain job", {}, '"tusk".add_job('],
  ["a plain job that wakes nobody", { wake: "poll" }, 'insert into "tusk".jobs'],
  ["a plain job with a ttl", { ttl: "1h" }, '"tusk".add_batch('],
  ["a plain job with a ttl that wakes nobody", { ttl: "1h", wake: "poll" }, '"tusk".insert_jobs('],
  ["a job with a custom id", { id: "mine" }, "add_jobs"],
  ["a job with a key", { deduplicate: "key" }, "add_jobs"],
  ["a delayed job with a debounce key", { deduplicate: { key: "key", replace: true }, delay: "10ms" }, "add_jobs"],
] as const

describe.each(kinds)("the answer to the insert of %s is lost", (_, options, statement) => {
  test("I1: it is there exactly once, and the call resolves with its handle", async () => {
    const tusk = openTusk({ connectionString: proxy.url })
    await tusk.workers()
    const lost = proxy.loseReplies(statement)
    const job = await once.with({ via: tusk, ...options }).enqueue("a")
    await within(lost, 1_000, "the loss")
    expect(job.created).toBe(true)
    expect(await everywhere()).toEqual([{ args: ["a"], state: "delay" in options ? expect.stringMatching(/delayed|waiting/) : "waiting" }])
    expect((await on.tusk.job(job.id).snapshot()).args).toEqual(["a"])
  })

  test("I1: so it is when it has been completed meanwhile", async () => {
    await startWorker(on.tusk, { queues: ["default"], poll: "100ms" })
    const tusk = openTusk({ connectionString: proxy.url })
    await tusk.workers()
    const lost = proxy.loseReplies(statement, { keepOpen: true })
    const enqueued = once.with({ via: tusk, ...options }).enqueue("a")
    await lost
    await waitFor(async () => (await on.db.query("select 1 from tusk.finished_jobs")).length === 1)
    // Now the producer hears that its connection is gone, and asks again.
    proxy.drop()
    const job = await enqueued
    expect(job.created).toBe(true)
    expect(await job.result()).toBe("a")
    expect(await everywhere()).toEqual([{ args: ["a"], state: "completed" }])
    expect(runs).toEqual(["a"])
  })
})

test("its event comes before those of its run, although its producer hears of it later, and once", async () => {
  const tusk = openTusk({ connectionString: proxy.url })
  const events: string[] = []
  tusk.events.on("*", (event) => void events.push(event.name))
  await startWorker(tusk, { queues: ["default"], poll: "100ms" })
  // By add_job, or by insert_job where the word that somebody listens to events has just been sent.
  const lost = proxy.loseReplies("_job_", { keepOpen: true })
  const enqueued = once.with({ via: tusk }).enqueue("a")
  await lost
  await waitFor(() => events.includes("job:completed"))
  proxy.drop()
  await enqueued
  expect(events).toEqual(["job:added", "job:started", "job:completed"])
})

test("a key that went to another job meanwhile does not take the handle along", async () => {
  await startWorker(on.tusk, { queues: ["default"], poll: "100ms" })
  const tusk = openTusk({ connectionString: proxy.url })
  await tusk.workers()
  const lost = proxy.loseReplies("add_jobs", { keepOpen: true })
  const enqueued = once.with({ via: tusk, deduplicate: "shared" }).enqueue("first")
  await lost
  await waitFor(() => runs.length === 1)
  await waitFor(async () => (await on.db.query("select 1 from tusk.keys")).length === 0)
  const other = await once.with({ via: on.tusk, deduplicate: "shared", delay: 60 }).enqueue("second")
  proxy.drop()
  const job = await enqueued
  expect(job.id).not.toBe(other.id)
  expect([job.created, await job.result()]).toEqual([true, "first"])
})

describe("the server is cut off", () => {
  test("a call says that the outcome is unknown when no answer comes in time, and the job is there at most once", async () => {
    // One connection: a second that stays open would let the repeat through.
    const tusk = openTusk({ pool: new RecordingPool({ connectionString: proxy.url, max: 1 }) })
    await tusk.workers()
    const lost = proxy.loseReplies('"tusk".add_job(')
    proxy.refuse()
    const enqueued = once.with({ via: tusk }).enqueue("a")
    await lost
    const error = await rejection(enqueued)
    expect(error).toBeInstanceOf(ConnectionError)
    expect(error.unknown).toBe(true)
    expect(error.message).toMatch(/Whether the job was stored is unknown/)
    expect(await everywhere()).toHaveLength(1)
    await proxy.accept()
  })

  test("a connection that cannot even be made says that nothing was stored, and at once", async () => {
    const pool = new RecordingPool({ connectionString: proxy.url })
    const tusk = openTusk({ pool })
    await tusk.workers()
    proxy.refuse()
    proxy.drop()
    await waitFor(() => pool.totalCount === 0, { what: "the pool to notice" })
    let error: any
    const took = await timed(async () => {
      error = await rejection(once.with({ via: tusk }).enqueue("a"))
    })
    expect(error).toBeInstanceOf(ConnectionError)
    expect(error.unknown).toBe(false)
    expect(error.message).toMatch(/No Postgres answers at 127\.0\.0\.1:\d+.*check host and port/)
    expect(took).toBeLessThan(2_000)
    expect(await everywhere()).toEqual([])
    await proxy.accept()
    await once.with({ via: tusk }).enqueue("b")
    expect(await everywhere()).toHaveLength(1)
    await pool.end()
  })

  test("connections killed while 1,000 calls are in flight: each settles, what resolved is stored once, what rejected says whether it is unknown", async () => {
    const tusk = openTusk({ connectionString: on.db.url })
    const view = once.with({ via: tusk })
    await view.with({ wake: "poll" }).enqueue("first")
    let kills = 0
    const until = performance.now() + 20_000
    const killing = (async () => {
      while (kills < 25 && performance.now() < until) {
        const rows = await on.db.query<{ killed: boolean }>(
          "select pg_terminate_backend(pid) as killed from pg_stat_activity where datname = current_database() and application_name = 'pgtusk client' and state <> 'idle'",
        )
        kills += rows.length
      }
    })()
    const ids: string[] = []
    const unknown: string[] = []
    let at = 0
    while (kills < 25 && performance.now() < until) {
      const names = Array.from({ length: 1_000 }, () => `call ${at++}`)
      const outcomes = await within(Promise.allSettled(names.map((name) => view.enqueue(name))), 20_000, "every call to settle")
      for (const [i, outcome] of outcomes.entries()) {
        if (outcome.status === "fulfilled") ids.push(outcome.value.id)
        else {
          expect(outcome.reason).toBeInstanceOf(ConnectionError)
          expect(outcome.reason.unknown).toBeTypeOf("boolean")
          if (outcome.reason.unknown) unknown.push(names[i]!)
        }
      }
    }
    await killing
    expect(kills).toBeGreaterThanOrEqual(25)
    const rows = await on.db.query<{ id: string; name: string }>("select id, args ->> 0 as name from tusk.jobs where args ->> 0 <> 'first'")
    expect(new Set(rows.map((row) => row.name)).size).toBe(rows.length)
    const storedIds = new Set(rows.map((row) => row.id))
    expect(ids.filter((id) => !storedIds.has(id))).toEqual([])
    // All that is stored was promised, or may have been.
    const promised = new Set(ids)
    expect(rows.filter((row) => !promised.has(row.id) && !unknown.includes(row.name))).toEqual([])
  })
})

describe("the first try is still under way when it is repeated", () => {
  test.each(kinds)("%s is stored once", async (_, options) => {
    const tusk = openTusk({ connectionString: proxy.url })
    await tusk.workers()
    // Inserts wait, although their connection is gone.
    const blocker = await connect(on.db.url)
    await blocker.query("begin")
    await blocker.query("lock table tusk.jobs in share mode")
    const enqueued = once.with({ via: tusk, ...options }).enqueue("a")
    await waitForLock(on.db)
    proxy.drop()
    await waitForLock(on.db, 2)
    await blocker.query("commit")
    const job = await enqueued
    expect(job.created).toBe(true)
    await waitFor(
      async () => (await on.db.query("select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'")).length === 0,
    )
    expect((await everywhere()).map((row) => row.args)).toEqual([["a"]])
    expect((await job.snapshot()).args).toEqual(["a"])
  })
})
