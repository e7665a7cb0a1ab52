/**
 * How tasks behave under the type checker, good use and misuse. Never run: types.test.ts compiles this file with standard and with legacy
 * decorators, and an `@ts-expect-error` with nothing to expect fails as much as an error does.
 */
import {
  type BoundTask,
  type Duration,
  listTasks,
  type ReportProgress,
  type RunOptions,
  type Task,
  type TaskOptions,
  task,
  taskRef,
  tasksOf,
} from "pgtusk"
import * as v from "valibot"
import * as z from "zod"
import type { Job } from "../../src/api/job.js"

/** Compiles when both are the same type, modifiers included. */
function same<A, B>(_: (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false): void {}

// ── Functions ────────────────────────────────────────────────────────────────
const resize = task(
  { name: "images.resize", queue: "images", retries: 2, ttl: "1h", timeout: 30 },
  async (path: string, width = 640, ...formats: string[]) => ({
    path,
    width,
    formats,
  }),
)
same<Parameters<typeof resize>, [path: string, width?: number | undefined, ...formats: string[]]>(true)
same<Awaited<ReturnType<typeof resize.enqueue>>, Job<{ path: string; width: number; formats: string[] }>>(true)
same<Awaited<ReturnType<typeof resize>>, { path: string; width: number; formats: string[] }>(true)

const resized: Job<{ path: string; width: number; formats: string[] }> = await resize.enqueue("a.png")
await resize.delay("a.png", 320)
await resize.send("a.png", 320, "webp", "avif")
await resize.enqueueMany([["a.png"], ["b.png", 320, "webp"]])
await resize("a.png", 320)
// @ts-expect-error a path is text
await resize.enqueue(5)
// @ts-expect-error the path is missing
await resize.enqueue()
// @ts-expect-error formats are text
await resize.enqueue("a.png", 320, 5)
// @ts-expect-error an argument list for each job
await resize.enqueueMany(["a.png"])
// @ts-expect-error a job is no result
resized.width

// Sync and async, overridden return types, and functions without arguments.
same<ReturnType<ReturnType<typeof makeSync>["enqueue"]>, Promise<Job<number>>>(true)
function makeSync() {
  return task({ name: "sync" }, (n: number) => n * 2)
}
const nothing = task({ name: "nothing" }, () => {})
same<Awaited<ReturnType<typeof nothing.enqueue>>, Job<void>>(true)
// @ts-expect-error it takes no arguments
await nothing.enqueue(1)
await task({}, async function tidy(_days: number) {}).enqueue(5)

// Interfaces, optional properties, unions, readonly arrays and generics pass as they are.
interface Order {
  id: string
  lines: readonly { sku: string; count: number }[]
  at?: Date
  note?: string | undefined
}
const place = task({ name: "orders.place" }, async (order: Order, mode: "fast" | "safe" = "safe") => ({ id: order.id, mode }))
await place.enqueue({ id: "1", lines: [{ sku: "a", count: 1 }], at: new Date() }, "fast")
// @ts-expect-error no such mode
await place.enqueue({ id: "1", lines: [] }, "slow")
// @ts-expect-error lines are missing
await place.enqueue({ id: "1" })

const bigs = task({ name: "bigs" }, async (n: bigint, bytes: Uint8Array, map: Map<string, Date>) => ({ n, bytes, map }))
same<Parameters<typeof bigs.enqueue>, [n: bigint, bytes: Uint8Array, map: Map<string, Date>]>(true)

// Defaults without annotations have the types of their values, also next to functions in the options.
const defaults = task(
  { name: "defaults", deduplicate: (to, body) => `${to} ${body}`, backoff: (retry) => retry },
  async (to: string, body = "", at = new Date(0), order: Order | null = null, { limit = 10 } = {}) => ({ to, body, at, order, limit }),
)
same<
  Parameters<typeof defaults.enqueue>,
  [to: string, body?: string | undefined, at?: Date | undefined, order?: Order | null | undefined, x?: { limit?: number | undefined } | undefined]
>(true)
// @ts-expect-error the default says that it is text
await defaults.enqueue("a", 5)
// @ts-expect-error as in any function, a parameter needs a type or a default
task({ name: "untyped" }, (a) => a)
// @ts-expect-error a class is no function
task({ name: "class" }, class {})
declare function overloaded(a: string): string
declare function overloaded(a: number): number
same<Parameters<ReturnType<typeof lastOverload>["enqueue"]>, [a: number]>(true)
function lastOverload() {
  return task({ name: "overloaded" }, overloaded)
}
const rest = task({ name: "rest", deduplicate: (...words) => words.join(" ") }, (...words: string[]) => words)
same<Parameters<typeof rest.enqueue>, string[]>(true)

// A task may enqueue itself when its result type is written down.
const countdown: Task<[n: number], void> = task({ name: "countdown" }, async (n: number): Promise<void> => {
  if (n > 0) await countdown.enqueue(n - 1)
})

// ── Options ──────────────────────────────────────────────────────────────────
const shared: RunOptions = { queue: "q", retries: 3 }
task({ ...shared, name: "shared" }, () => 1)
const options = {
  name: "t",
  backoff: { base: 2, first: "1s", max: "1h", jitter: 0.1 },
  keep: { completed: false, failed: "14d" },
} satisfies TaskOptions
task(options, () => 1)
task({ name: "b1", backoff: 2 }, () => 1)
task({ name: "b2", backoff: { steps: ["10s", 60] } }, () => 1)
task({ name: "b3", backoff: (retry, error) => (error instanceof RangeError ? retry : "1m") }, () => 1)
task({ name: "b4", onError: (_error, job) => (job.attempt > 2 ? "fail" : { retryIn: "5s" }) }, () => 1)
task(
  { name: "b5", concurrency: { limit: 1, key: (tenant) => tenant }, rateLimit: { limit: 5, per: "1s", key: (tenant) => tenant } },
  (tenant: string) => tenant,
)
// @ts-expect-error misspelt
task({ name: "t", retrys: 1 }, async () => 1)
// @ts-expect-error not a duration
task({ name: "t", ttl: "60 secs" }, async () => 1)
// @ts-expect-error no unit
task({ name: "t", timeout: "60" }, async () => 1)
// @ts-expect-error a number is meant
task({ name: "t", priority: "high" }, async () => 1)
// @ts-expect-error an option of one job, not of a task
task({ name: "t", delay: 5 }, async () => 1)
// @ts-expect-error no function
task({ name: "t" }, "run")
// @ts-expect-error a key is text
task({ name: "t", deduplicate: (n) => n }, async (n: number) => n)
// @ts-expect-error the key's function gets the task's arguments
task({ name: "t", deduplicate: (a: string, b: string) => a + b }, async (n: number) => n)
const durations: Duration[] = [1, 0.5, "250ms", "10m", "1.5h", "1d", "2w"]
// @ts-expect-error no such unit
durations.push("1y")

const keyed = task(
  { name: "keyed", deduplicate: (tenant, n) => ({ key: `${tenant}-${n}`, ttl: "1h" }) },
  async (tenant: string, n: number) => tenant.length + n,
)
same<Parameters<typeof keyed.enqueue>, [tenant: string, n: number]>(true)

// ── with() ───────────────────────────────────────────────────────────────────
const later = resize.with({ delay: "10m", priority: 3, dependsOn: [resized, resized.id, { job: resized, onFailure: "run" }] })
same<typeof later, BoundTask<[path: string, width?: number | undefined, ...formats: string[]], { path: string; width: number; formats: string[] }>>(
  true,
)
await later.with({ delay: new Date(), headers: { trace: "x" }, wake: "poll" }).enqueue("a.png")
await resize.with({ queue: "bulk" }).schedule("nightly", { cron: "0 3 * * *", tz: "Europe/Berlin" }, "a.png", 320)
await resize.schedule("often", { every: "15m" }, "a.png")
// @ts-expect-error misspelt
resize.with({ prio: 1 })
// @ts-expect-error an option of the task, not of one job
resize.with({ progress: true })
// @ts-expect-error a function cannot be stored with one job
resize.with({ backoff: () => 5 })
// @ts-expect-error no such policy
resize.with({ onParentFailure: "ignore" })
// @ts-expect-error headers are text
resize.with({ headers: { trace: 1 } })
// @ts-expect-error a view with options does not run here and now
later("a.png")
// @ts-expect-error neither cron nor every
await resize.schedule("x", { tz: "UTC" }, "a.png")

// ── Progress ─────────────────────────────────────────────────────────────────
const report = task(
  { name: "reports.build", progress: true, deduplicate: (rows, id) => `${id}-${rows.length}` },
  async (reportProgress, rows: number[], id = "all") => {
    reportProgress(0.5, { rows: rows.length })
    return id
  },
)
same<Parameters<typeof report.enqueue>, [rows: number[], id?: string | undefined]>(true)
const reported: Job<string> = await report.enqueue([1, 2])
// @ts-expect-error the reporter is injected, not passed
await report.enqueue(() => {}, [1], "x")
const withDefaults = task({ name: "wd", progress: true }, async (reportProgress, rows: number[], size = 10, tags: string[] = []) => {
  reportProgress(0)
  return { rows, size, tags }
})
same<Parameters<typeof withDefaults.enqueue>, [rows: number[], size?: number | undefined, tags?: string[] | undefined]>(true)
const annotated = task({ name: "an", progress: true }, (reportProgress: ReportProgress, n: number) => reportProgress(n))
same<Parameters<typeof annotated.enqueue>, [n: number]>(true)
// @ts-expect-error the first parameter is the reporter
task({ name: "p", progress: true }, (rows: number[]) => rows)
// @ts-expect-error the key's function gets the arguments without the reporter
task({ name: "p", progress: true, deduplicate: (a: string) => a }, (reportProgress, n: number) => reportProgress(n))
const onlyProgress = task({ name: "p", progress: true }, (reportProgress) => reportProgress(1))
await onlyProgress.enqueue()
// @ts-expect-error a fraction is a number
task({ name: "p", progress: true }, (reportProgress) => reportProgress("half"))

// ── Schemas ──────────────────────────────────────────────────────────────────
const zodTask = task(
  { name: "zod", input: z.object({ id: z.string(), count: z.coerce.number<string>().default(1), at: z.string().transform((s) => new Date(s)) }) },
  async (order) => ({ sum: order.count + 1, time: order.at.getTime() }),
)
same<Parameters<typeof zodTask.enqueue>, [input: { id: string; count?: string | undefined; at: string }]>(true)
const zodJob: Job<{ sum: number; time: number }> = await zodTask.enqueue({ id: "a", at: "2026-01-01" })
// @ts-expect-error the input, not the output
await zodTask.enqueue({ id: "a", at: new Date() })
// @ts-expect-error one argument
await zodTask.enqueue({ id: "a", at: "2026-01-01" }, 2)

const valibotTask = task(
  { name: "valibot", input: v.object({ name: v.string(), tags: v.optional(v.array(v.string()), []) }) },
  (user) => user.tags.length,
)
same<Awaited<ReturnType<typeof valibotTask.enqueue>>, Job<number>>(true)
await valibotTask.enqueue({ name: "x" })
// @ts-expect-error a name is text
await valibotTask.enqueue({ name: 5 })

const both = task(
  { name: "both", input: z.object({ n: z.number() }), progress: true, deduplicate: (input) => String(input.n) },
  (reportProgress, input) => {
    reportProgress(input.n)
    return input.n
  },
)
same<Parameters<typeof both.enqueue>, [input: { n: number }]>(true)
// @ts-expect-error no schema
task({ name: "t", input: { parse: () => 1 } }, (x) => x)
// @ts-expect-error the function does not take what the schema gives
task({ name: "t", input: z.object({ n: z.number() }) }, (x: { n: string }) => x.n)

// ── Decorators ───────────────────────────────────────────────────────────────
class Mail {
  @task({ name: "mail.send", queue: "mail", retries: 3 })
  async send(to: string, copies = 1): Promise<number> {
    return to.length * copies
  }

  @task({ name: "mail.digest", progress: true })
  digest(reportProgress: ReportProgress, day: Date): string {
    reportProgress(1)
    return day.toISOString()
  }

  @task({ name: "mail.purge" })
  static async purge(days: number): Promise<number> {
    return days
  }

  @task({ name: "mail.any" })
  any(value: any): any {
    return value
  }

  from = "me"
}
same<Parameters<ReturnType<typeof tasksOf<typeof Mail>>["send"]>, [to: string, copies?: number | undefined]>(true)
const send: Task<[to: string, copies?: number | undefined], number> = tasksOf(Mail).send
const purged: Job<number> = await tasksOf(Mail).purge.enqueue(3)
await tasksOf(Mail).digest.enqueue(new Date())
await tasksOf(Mail).any.enqueue(5)
await tasksOf(Mail).send.with({ delay: 5 }).enqueue("a@b.c")
// @ts-expect-error to is text
await tasksOf(Mail).send.enqueue(5)
// @ts-expect-error no method
tasksOf(Mail).from
// @ts-expect-error no such method
tasksOf(Mail).sned
// @ts-expect-error a class, not an instance
tasksOf(new Mail())
// The method is what it was.
const length: Promise<number> = new Mail().send("a@b.c")
class Misspelt {
  // @ts-expect-error misspelt
  @task({ name: "m", retrys: 1 })
  run(): void {}
}

// ── References, calls, the registry ──────────────────────────────────────────
const remote = taskRef<typeof resize>("images.resize", { queue: "bulk" })
same<typeof remote, typeof resize>(true)
const remoteJob: Job<{ path: string; width: number; formats: string[] }> = await remote.with({ priority: 1 }).enqueue("a.png", 320)
// @ts-expect-error a path is text
await remote.enqueue(5)
// @ts-expect-error an option of one job is meant
taskRef<typeof resize>("images.resize", { name: "x" })
// @ts-expect-error a task is meant
taskRef<() => void>("images.resize")

const call = resize.call("a.png", 320).with({ priority: 1 })
same<(typeof call)["~result"], { path: string; width: number; formats: string[] }>(true)
// @ts-expect-error a path is text
resize.call(5)

const anyTask: Task = resize
const [first] = listTasks()
const names: [string, string, number, Duration | undefined, boolean, Task] = [
  first!.name,
  first!.queue,
  first!.retries,
  first!.ttl,
  first!.progress,
  first!.task,
]

export { anyTask, bigs, length, Misspelt, names, purged, remoteJob, reported, send, zodJob }
