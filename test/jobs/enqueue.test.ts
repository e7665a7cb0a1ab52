import { describe, expect, test } from "vitest"
import { InvalidOptionError } from "../../src/api/errors.js"
import { currentJob, task, taskRef } from "../../src/index.js"
import { waitFor } from "../support/wait.js"
import { bench, openTusk, rejection, startWorker } from "./setup.js"

const on = bench()

const seen: unknown[][] = []
const note = task({ name: "note" }, async (...args: unknown[]) => {
  seen.push(args)
  return args.length
})
const busy = task({ name: "busy", queue: "heavy", priority: 2, retries: 3, ttl: "1h", keep: { completed: "3d" }, maxCrashes: 2 }, async () => "done")

describe("enqueue", () => {
  test("stores one job and returns its handle, which is not thenable", async () => {
    const job = await note.with({ via: on.tusk }).enqueue("a", 1)
    expect(job.id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    expect([job.task, job.queue, job.created]).toEqual(["note", "default", true])
    expect("then" in job).toBe(false)
    expect(await on.db.query("select id, task, queue, state::text, args, priority, attempt, max_attempts, options, headers from tusk.jobs")).toEqual([
      {
        id: job.id,
        task: "note",
        queue: "default",
        state: "waiting",
        args: ["a", 1],
        priority: 5,
        attempt: 0,
        max_attempts: 1,
        options: null,
        headers: null,
      },
    ])
  })

  test("delay() and send() are enqueue() by other names, and methods may be taken off", async () => {
    const { delay, send, enqueue } = note.with({ via: on.tusk })
    await delay(1)
    await send(2)
    await enqueue(3)
    expect(await on.db.query("select args from tusk.jobs order by seq")).toEqual([{ args: [1] }, { args: [2] }, { args: [3] }])
  })

  test("the task's own options are the job's", async () => {
    const job = await busy.with({ via: on.tusk }).enqueue()
    const [row] = await on.db.query(
      "select queue, priority, max_attempts, extract(epoch from expires_at - created_at)::int as ttl, options from tusk.jobs",
    )
    expect(row).toEqual({ queue: "heavy", priority: 2, max_attempts: 4, ttl: 3600, options: { keep: { completed: 259_200_000 }, maxCrashes: 2 } })
    expect(job.queue).toBe("heavy")
  })

  test("the job's options win over the task's", async () => {
    await busy.with({ via: on.tusk, queue: "light", priority: -32_768, retries: 0, ttl: "500ms", timeout: "1m", backoff: { fixed: 2 } }).enqueue()
    const [row] = await on.db.query(
      "select queue, priority, max_attempts, extract(epoch from expires_at - created_at)::float8 as ttl, options - 'keep' - 'maxCrashes' as options from tusk.jobs",
    )
    expect(row).toEqual({ queue: "light", priority: -32_768, max_attempts: 1, ttl: 0.5, options: { backoff: { fixed: 2 }, timeoutMs: 60_000 } })
  })

  test("views are immutable: with() changes neither the task nor the view that it came from", async () => {
    const base = note.with({ via: on.tusk, priority: 1 })
    const changed = base.with({ priority: 9, queue: "other" })
    await base.enqueue("base")
    await changed.enqueue("changed")
    expect(await on.db.query("select queue, priority, args from tusk.jobs order by seq")).toEqual([
      { queue: "default", priority: 1, args: ["base"] },
      { queue: "other", priority: 9, args: ["changed"] },
    ])
  })

  test.each([
    ["a number of seconds", 90, 90],
    ["text with a unit", "2h", 7_200],
    ["less than a second", "250ms", 0.25],
  ] as const)("I9: delay as %s counts by the database's clock", async (_, delay, seconds) => {
    await note.with({ via: on.tusk, delay }).enqueue()
    const [row] = await on.db.query("select state::text, extract(epoch from run_at - created_at)::float8 as wait from tusk.jobs")
    expect(row).toEqual({ state: "delayed", wait: seconds })
  })

  test("delay as a Date is that instant, and one that is past is now", async () => {
    const at = new Date("2037-05-06T07:08:09.123Z")
    const later = await note.with({ via: on.tusk, delay: at }).enqueue()
    const past = await note.with({ via: on.tusk, delay: new Date(0) }).enqueue()
    expect(await later.snapshot()).toMatchObject({ state: "delayed", runAt: at })
    expect(await past.snapshot()).toMatchObject({ state: "waiting", runAt: null })
  })

  test("headers come back in the handler and in the snapshot", async () => {
    const got: unknown[] = []
    const reader = task({ name: "headers" }, async () => got.push(currentJob().headers))
    await startWorker(on.tusk, { queues: ["default"] })
    const headers = { "trace-id": 'it\'s "4f2a" — 漢字', empty: "" }
    const job = await reader.with({ via: on.tusk, headers }).enqueue()
    await job.result()
    expect(got).toEqual([headers])
    expect((await job.snapshot()).headers).toEqual(headers)
    expect((await (await note.with({ via: on.tusk }).enqueue()).snapshot()).headers).toEqual({})
  })
})

describe("enqueueMany", () => {
  test("stores all jobs in the order of the list; handles come in that order", async () => {
    const list = Array.from({ length: 1_000 }, (_, i) => [i] as [number])
    const jobs = await note.with({ via: on.tusk }).enqueueMany(list)
    const rows = await on.db.query<{ id: string; n: number }>("select id, (args ->> 0)::int as n from tusk.jobs order by seq")
    expect(rows.map((row) => row.n)).toEqual(list.map(([n]) => n))
    expect(rows.map((row) => row.id)).toEqual(jobs.map((job) => job.id))
  })

  test("is one statement, and nothing for an empty list", async () => {
    expect(await note.with({ via: on.tusk }).enqueueMany([])).toEqual([])
    await note.with({ via: on.tusk, wake: "poll" }).enqueueMany(Array.from({ length: 20_000 }, (_, i) => [i]))
    const [row] = await on.db.query("select count(*)::int as n, count(distinct xmin::text)::int as transactions from tusk.jobs")
    expect(row).toEqual({ n: 20_000, transactions: 1 })
  })

  test("stores all or none: one bad argument list, and nothing is there", async () => {
    const error = await rejection(note.with({ via: on.tusk }).enqueueMany([[1], [() => 1], [3]]))
    expect(error.path).toBe("$[0]")
    expect(await on.db.query("select 1 from tusk.jobs")).toEqual([])
  })

  test("takes different tasks by their calls; options of the list are defaults of each", async () => {
    const jobs = await on.tusk.enqueueMany([note.call("a").with({ priority: 1 }), busy.call().with({ delay: 60 }), taskRef("elsewhere").call(7)], {
      queue: "mixed",
      headers: { from: "list" },
    })
    expect(jobs.map((job) => [job.task, job.queue])).toEqual([
      ["note", "mixed"],
      ["busy", "mixed"],
      ["elsewhere", "mixed"],
    ])
    expect(await on.db.query("select task, queue, priority, state::text, args, headers from tusk.jobs order by seq")).toEqual([
      { task: "note", queue: "mixed", priority: 1, state: "waiting", args: ["a"], headers: { from: "list" } },
      { task: "busy", queue: "mixed", priority: 2, state: "delayed", args: [], headers: { from: "list" } },
      { task: "elsewhere", queue: "mixed", priority: 5, state: "waiting", args: [7], headers: { from: "list" } },
    ])
  })

  test("refuses more than 100,000 jobs in one call", async () => {
    const error = await rejection(note.with({ via: on.tusk }).enqueueMany(new Array<[number]>(100_001).fill([1])))
    expect(error).toBeInstanceOf(InvalidOptionError)
    expect(error.message).toMatch(/100001 jobs; enqueue at most 100000 at once/)
  })
})

describe("by name", () => {
  test("tusk.enqueue and taskRef take their defaults from what workers publish, and options win over them", async () => {
    const worker = await on.tusk.work({ queues: ["nothing here"] })
    await worker.stop()
    const producer = openTusk({ connectionString: on.db.url })
    await producer.enqueue("busy")
    await taskRef("busy").with({ via: producer, priority: 7, retries: 0, ttl: "1m", queue: "own" }).enqueue()
    await producer.enqueue("unheard of", [1, "two"])
    const rows = await on.db.query(
      "select task, queue, priority, max_attempts, extract(epoch from expires_at - created_at)::int as ttl, args, options from tusk.jobs order by seq",
    )
    const options = { keep: { completed: 259_200_000 }, maxCrashes: 2 }
    expect(rows).toEqual([
      { task: "busy", queue: "heavy", priority: 2, max_attempts: 4, ttl: 3600, args: [], options },
      { task: "busy", queue: "own", priority: 7, max_attempts: 1, ttl: 60, args: [], options },
      { task: "unheard of", queue: "default", priority: 5, max_attempts: 1, ttl: null, args: [1, "two"], options: null },
    ])
  })
})

describe("order", () => {
  test("lower priorities first, first in first out inside one, whatever the order of enqueueing", async () => {
    const priorities = [5, 9, 1, 5, 32_767, -32_768, 1, 5, 9]
    for (const [i, priority] of priorities.entries()) await note.with({ via: on.tusk, priority }).enqueue(priority, i)
    seen.length = 0
    await startWorker(on.tusk, { queues: { default: 1 } })
    await waitFor(() => seen.length === priorities.length)
    expect(seen).toEqual(priorities.map((p, i) => [p, i]).sort(([p, i], [q, j]) => p! - q! || i! - j!))
  })

  test("a delayed job takes its place when it falls due", async () => {
    await startWorker(on.tusk, { queues: { default: 1 } })
    seen.length = 0
    const delayed = await note.with({ via: on.tusk, delay: "1s" }).enqueue("delayed")
    await (await note.with({ via: on.tusk }).enqueue("first")).result()
    await delayed.result()
    await (await note.with({ via: on.tusk }).enqueue("last")).result()
    expect(seen).toEqual([["first"], ["delayed"], ["last"]])
  })
})
