/** Finding jobs: each filter alone and together, and pages that stay whole while jobs move. */
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { currentJob, type Job, type JobFilter, type JobState, NonRetryableError, Tusk, task } from "../../src/index.js"
import { waitFor } from "../support/wait.js"
import { Gate, ground, reaches } from "../worker/ground.js"

const on = ground()
const Q = "searched"

const echo = task({ name: "search.echo", queue: Q }, (...args: unknown[]) => args)
const other = task({ name: "search.other", queue: Q }, (...args: unknown[]) => args)
const fails = task({ name: "search.fails", queue: Q }, (message: string) => {
  throw new NonRetryableError(message)
})
const gate = new Gate()
const held = task({ name: "search.held", queue: Q }, () => gate.pass("held", currentJob().signal))

/** One job in each state, and what they are called here. */
let made: Record<string, Job>
let setUp: Tusk
afterAll(async () => {
  gate.open()
  await setUp.close()
})

beforeAll(async () => {
  // Not of one test, so not of `on.open()`.
  const tusk = (setUp = new Tusk({ connectionString: on.db.url, signals: false }))
  made = {}
  made["completed"] = await echo.with({ via: tusk }).enqueue("done", { user: 7, tags: ["a", "b"] })
  made["other"] = await other.with({ via: tusk }).enqueue("100%", "under_score", 'say "hi"', "back\\slash", "Zürich")
  made["failed"] = await fails.with({ via: tusk }).enqueue('cannot find "x_y" at 50%')
  made["expired"] = await echo.with({ via: tusk, ttl: "1ms", delay: "1h" }).enqueue("stale")
  made["cancelled"] = await echo.with({ via: tusk, delay: "1h" }).enqueue("not needed")
  await made["cancelled"].cancel("because I say so")
  const worker = await tusk.work({ queues: [Q] })
  made["active"] = await held.with({ via: tusk }).enqueue()
  await reaches(made["completed"], "completed")
  await reaches(made["other"], "completed")
  await reaches(made["failed"], "failed")
  await waitFor(() => gate.arrived.length === 1)
  worker.pause()
  // Expiry is a duty that a paused worker does.
  await reaches(made["expired"], "expired")
  made["waiting"] = await echo.with({ via: tusk, priority: 9 }).enqueue("waits", 3)
  made["delayed"] = await echo.with({ via: tusk, delay: "1h" }).enqueue("later")
  made["blocked"] = await echo.with({ via: tusk, dependsOn: [made["delayed"]] }).enqueue("blocked")
  made["elsewhere"] = await echo.with({ via: tusk, queue: "another" }).enqueue("done")
})

/** The names of the jobs that a filter finds, oldest first. */
async function found(filter: JobFilter, tusk: Tusk = on.open()): Promise<string[]> {
  const { jobs } = await tusk.jobs({ order: "oldest", ...filter })
  const names = new Map(Object.entries(made).map(([name, job]) => [job.id, name]))
  return jobs.map((job) => names.get(job.id) ?? job.id)
}
const ALL = ["completed", "other", "failed", "expired", "cancelled", "active", "waiting", "delayed", "blocked", "elsewhere"]

describe("a filter", () => {
  test("none: all, the newest first unless told otherwise", async () => {
    const tusk = on.open()
    expect(await found({}, tusk)).toEqual(ALL)
    expect((await tusk.jobs()).jobs.map((job) => job.id)).toEqual(ALL.map((name) => made[name]!.id).reverse())
    expect((await tusk.jobs()).next).toBeNull()
  })

  test.each(["waiting", "delayed", "blocked", "active", "failed", "expired", "cancelled"] as const)("state: %s", async (state) => {
    expect(await found({ state, queue: Q })).toEqual([state])
  })

  test.each<[string, JobFilter, string[]]>([
    ["two states, live and finished", { state: ["completed", "waiting"], queue: Q }, ["completed", "other", "waiting"]],
    ["no state at all", { state: [] }, []],
    ["queue", { queue: "another" }, ["elsewhere"]],
    ["a queue that is none", { queue: "no-such" }, []],
    ["task", { task: "search.other" }, ["other"]],
    ["args: at any place", { args: ["done"] }, ["completed", "elsewhere"]],
    ["args: a part of an object", { args: [{ user: 7 }] }, ["completed"]],
    ["args: deep in it", { args: [{ tags: ["b"] }] }, ["completed"]],
    ["args: several", { args: [3, "waits"] }, ["waiting"]],
    ["args: one that differs", { args: [{ user: 8 }] }, []],
    ["text in args", { text: "late" }, ["delayed"]],
    ["text ignores case", { text: "ZÜRICH" }, ["other"]],
    ["text in the task", { text: "search.fail" }, ["failed"]],
    ["text in the error", { text: "because i say" }, ["cancelled"]],
    ["text in an error with quotation marks", { text: 'find "x_y" at 50%' }, ["failed"]],
    ["a per cent sign is one", { text: "%" }, ["other", "failed"]],
    ["… and nothing else", { text: "d%e" }, []],
    ["an underscore is one", { text: "under_score" }, ["other"]],
    ["… and nothing else", { text: "under.score" }, []],
    ["… at any place", { text: "o_e" }, []],
    ["quotation marks", { text: 'say "hi"' }, ["other"]],
    ["a backslash", { text: "back\\slash" }, ["other"]],
    ["text and queue", { text: "done", queue: Q }, ["completed"]],
    ["args and state", { args: ["done"], state: "waiting" }, ["elsewhere"]],
    ["task, state and text", { task: "search.echo", state: ["expired", "cancelled"], text: "stale" }, ["expired"]],
  ])("%s", async (_, filter, expected) => {
    expect(await found(filter)).toEqual(expected)
  })

  test("text: part of an id", async () => {
    const { id } = made["blocked"]!
    expect(await found({ text: id })).toEqual(["blocked"])
    expect(await found({ text: id.slice(9).toUpperCase() })).toEqual(["blocked"])
  })

  test("since and until, of the creation, both included", async () => {
    const tusk = on.open()
    const [first, last] = await Promise.all([made["active"]!.snapshot(), made["delayed"]!.snapshot()])
    // The database keeps microseconds, a Date does not.
    const until = new Date(last.createdAt.getTime() + 1)
    const between = await found({ since: first.createdAt, until }, tusk)
    expect(between).toEqual(expect.arrayContaining(["active", "waiting", "delayed"]))
    expect(between).not.toContain("completed")
    expect(await found({ since: new Date(Date.now() + 60_000) }, tusk)).toEqual([])
    expect(await found({ until: new Date(0) }, tusk)).toEqual([])
  })

  test("what it finds are whole snapshots", async () => {
    const tusk = on.open()
    const { jobs } = await tusk.jobs({ queue: Q })
    for (const job of jobs) expect(job).toEqual(await tusk.job(job.id).snapshot())
    expect(jobs.find((job) => job.id === made["blocked"]!.id)!.waitingFor).toEqual([made["delayed"]!.id])
    expect(jobs.find((job) => job.id === made["completed"]!.id)!.result).toEqual(["done", { user: 7, tags: ["a", "b"] }])
  })

  test.each<[unknown, RegExp]>([
    [{ state: "done" }, /state is "done"; write one of waiting/],
    [{ state: ["waiting", "gone"] }, /"gone"/],
    [{ order: "up" }, /order is "up"; write "newest" or "oldest"/],
    [{ limit: 0 }, /limit is 0; write 1 to 1000/],
    [{ limit: 1_001 }, /limit is 1001/],
    [{ limit: "5" }, /limit is "5"; write 1 to 1000/],
    [{ after: "3" }, /after is "3"; write the `next`/],
    [{ text: 5 }, /text of the filter of jobs \(5\) is no text/],
    [{ text: "\0" }, /text of the filter/],
    [{ since: "yesterday" }, /since of the filter of jobs is "yesterday"; write a Date/],
    [{ until: new Date(Number.NaN) }, /until of the filter/],
    [{ args: [() => 1] }, /The args of the filter/],
    [{ tasks: "x" }, /did you mean task/],
  ])("%j is refused", async (filter, message) => {
    await expect(on.open().jobs(filter as JobFilter)).rejects.toThrow(message)
  })
})

describe("pages", () => {
  const PER_PAGE = 7
  const N = 60

  async function pages(tusk: Tusk, queue: string, filter: Omit<JobFilter, "queue">, between: (page: number) => unknown = () => undefined) {
    const seen: { id: string; state: JobState }[] = []
    let after: string | null = null
    for (let page = 0; ; page++) {
      const found = await tusk.queue(queue).jobs({ limit: PER_PAGE, ...filter, ...(after === null ? {} : { after }) })
      seen.push(...found.jobs)
      if (found.next === null) return seen
      expect(found.jobs).toHaveLength(PER_PAGE)
      expect(found.next).toBe(found.jobs.at(-1)!.id)
      after = found.next
      await between(page)
    }
  }

  test.each(["oldest", "newest"] as const)("%s first: each job once, while they move from live to finished", async (order) => {
    const tusk = on.open()
    const queue = on.name("pages")
    const name = on.name("moving")
    const moving = task({ name, queue }, (n: number) => n)
    const jobs = await moving.enqueueMany(Array.from({ length: N }, (_, i) => [i]))
    const ids = jobs.map((job) => job.id)
    // Two slots, so that it takes as long as the paging.
    let working = false
    const seen = await pages(tusk, queue, { order }, async (page) => {
      if (page === 1) {
        await tusk.work({ queues: { [queue]: 2 } })
        working = true
      }
      if (page === 3) await waitFor(async () => ((await on.counts(queue)).completed ?? 0) > N / 2)
    })
    expect(working).toBe(true)
    expect(seen.map((job) => job.id)).toEqual(order === "oldest" ? ids : ids.reverse())
    expect(new Set(seen.map((job) => job.state))).toEqual(new Set(["waiting", "completed"]))
  })

  test("one page, again and again, while jobs move: never one of them twice, never one missing", async () => {
    const tusk = on.open()
    const queue = on.name("still")
    const name = on.name("moving")
    const moving = task({ name, queue }, (n: number) => n)
    const jobs = await moving.enqueueMany(Array.from({ length: 200 }, (_, i) => [i]))
    const ids = jobs.map((job) => job.id)
    await tusk.work({ queues: { [queue]: 1 } })
    let looks = 0
    do {
      looks++
      expect((await tusk.queue(queue).jobs({ order: "oldest", limit: 1_000 })).jobs.map((job) => job.id)).toEqual(ids)
    } while ((await on.counts(queue)).completed !== 200)
    expect(looks).toBeGreaterThan(0)
  })

  test("the last one ends, also when it is full", async () => {
    const tusk = on.open()
    const queue = on.name("full")
    await echo.with({ queue }).enqueueMany(Array.from({ length: PER_PAGE * 2 }, (_, i) => [i]))
    expect(await pages(tusk, queue, { order: "oldest" })).toHaveLength(PER_PAGE * 2)
    expect(await pages(tusk, queue, { order: "newest", args: [3] })).toHaveLength(1)
  })
})
