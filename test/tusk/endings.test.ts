/** Programs end when nothing is under way, and everything that ends does so in time. */
import { fileURLToPath } from "node:url"
import { afterEach, describe, expect, test, vi } from "vitest"
import { quietLogger } from "../../src/api/logger.js"
import { startEmbedded } from "../../src/embedded/embedded.js"
import { Tusk, task } from "../../src/index.js"
import { bench, connect, rejection } from "../jobs/setup.js"
import { compileInto } from "../support/bundle.js"
import { spawnScript } from "../support/process.js"
import { deferred, waitFor, within } from "../support/wait.js"

const on = bench()
const work = task({ name: "work" }, async (n: number) => n)
const script = (name: string): URL => new URL(`./fixtures/${name}.ts`, import.meta.url)
const root = fileURLToPath(new URL("../..", import.meta.url))

describe("a program without close()", () => {
  test("ends when nothing is under way", async () => {
    const modes = ["enqueue", "not awaited", "many at once", "a wait that is over", "a subscription", "a drained worker", "awaited close"]
    for (const mode of modes) {
      const program = spawnScript(script("endings"), [mode], { DATABASE_URL: on.db.url })
      await program.line("end", 30_000)
      const { code } = await within(program.exit, 5_000, `${mode} to end`)
      expect([mode, code, program.stderr]).toEqual([mode, 0, ""])
    }
    // One of each mode that stores one, and twenty in transactions; the drained worker may have run some.
    expect(await on.db.query("select count(*)::int as n from (select from tusk.jobs union all select from tusk.finished_jobs) all_jobs")).toEqual([
      { n: 24 },
    ])
  }, 120_000)

  test("goes on while it awaits a result, or an event", async () => {
    const waiting = spawnScript(script("endings"), ["an awaited result"], { DATABASE_URL: on.db.url })
    await waiting.line("enqueued")
    const reading = spawnScript(script("endings"), ["an awaited event"], { DATABASE_URL: on.db.url })
    await reading.line("reading")
    await waitFor(async () => (await on.db.query("select 1 from tusk.subscribers")).length === 1)
    await new Promise((resolve) => setTimeout(resolve, 3_000))
    expect([waiting.lines.length, reading.lines.length]).toEqual([1, 1])
    const tusk = new Tusk({ connectionString: on.db.url, signals: false })
    await tusk.work({ queues: ["default"] })
    await waiting.line("result 7")
    await work.with({ via: tusk }).enqueue(1)
    await reading.line("event job:added")
    expect(await Promise.all([waiting.exit, reading.exit])).toMatchObject([{ code: 0 }, { code: 0 }])
    await tusk.close()
  }, 60_000)
})

describe("fake timers", () => {
  afterEach(() => void vi.useRealTimers())

  test("around enqueues, waits and workers leave close() as it is", async () => {
    const tusk = new Tusk({ connectionString: on.db.url, signals: false })
    vi.useFakeTimers()
    await work.with({ via: tusk }).enqueue(1)
    await work.with({ via: tusk }).enqueue(2)
    vi.useRealTimers()
    await within(tusk.close(), 5_000)
  })

  test("for the whole life of a client, first connection to close(), stop none of its own work", async () => {
    vi.useFakeTimers()
    const tusk = new Tusk({ connectionString: on.db.url, signals: false })
    await tusk.work({ queues: ["default"] })
    const jobs = [await work.with({ via: tusk }).enqueue(1), await work.with({ via: tusk, delay: "300ms" }).enqueue(2)]
    expect(await Promise.all(jobs.map((job) => job.result({ timeout: "20s" })))).toEqual([1, 2])
    expect((await rejection((await work.with({ via: tusk, delay: "1h" }).enqueue(3)).result({ timeout: "50ms" }))).code).toBe("WAIT_TIMEOUT")
    await tusk.close()
    vi.useRealTimers()
  })
})

describe("close() ends in time", () => {
  test("when a transaction never ends, a statement waits for a lock, and a connection is checked out for good", async () => {
    const warnings: string[] = []
    const logger = { debug() {}, info() {}, warn: (message: string) => void warnings.push(message), error() {} }
    const tusk = new Tusk({ connectionString: on.db.url, signals: false, logger })
    await tusk.workers()
    const locker = await connect(on.db.url)
    await locker.query("begin; lock table tusk.jobs")
    const entered = deferred()
    const never = tusk.transaction(async () => {
      entered.resolve()
      await new Promise(() => undefined)
    })
    never.catch(() => undefined)
    await entered.promise
    const stuck = rejection(work.with({ via: tusk }).enqueue(1))
    await new Promise((resolve) => setTimeout(resolve, 100))
    const began = performance.now()
    await within(tusk.close(), 15_000)
    expect(performance.now() - began).toBeGreaterThan(9_000)
    expect(warnings).toContainEqual(expect.stringContaining("close() has cut off connections"))
    await locker.query("rollback")
    expect((await stuck).code).toBe("CONNECTION")
    await waitFor(
      async () =>
        (await on.db.query("select from pg_stat_activity where application_name = 'pgtusk client' and state like '%transaction%'")).length === 0,
    )
  }, 60_000)
})

describe("a module with configure() and work() that is evaluated again and again", () => {
  const reloads = async (NODE_ENV: string): Promise<{ workers: number; sessions: number; results: string[] }> => {
    // Of a program before, which ended without a word.
    await on.db.query("delete from tusk.workers")
    const folder = `${root}node_modules/.cache/pgtusk/reloads-${process.pid}`
    await compileInto(folder, [fileURLToPath(script("reloaded"))], { alias: { pgtusk: `${root}src/index.ts` } })
    const program = spawnScript(script("reloads"), [`${folder}/reloaded.js`], { DATABASE_URL: on.db.url, NODE_ENV, WORK: "" })
    await program.line("loaded", 60_000)
    const count = async (sql: string): Promise<number> => (await on.db.query<{ n: number }>(`select count(*)::int as n from ${sql}`))[0]!.n
    const workers = (): Promise<number> => count("tusk.workers where heartbeat_at > now() - lease")
    if (NODE_ENV === "development") await waitFor(async () => (await workers()) === 1, { timeout: 20_000 })
    const running = await workers()
    const sessions = (): Promise<number> => count("pg_stat_activity where datname = current_database() and application_name like 'pgtusk%'")
    if (NODE_ENV === "development") await waitFor(async () => (await sessions()) <= 8, { timeout: 20_000 })
    const open = await sessions()
    program.send("go on")
    await within(program.exit, 30_000)
    expect(program.stderr).toBe("")
    return { workers: running, sessions: open, results: program.lines.slice(1) as string[] }
  }

  test("leaves one worker in development, a few connections, and earlier handles go on to work", async () => {
    const { workers, sessions, results } = await reloads("development")
    expect(workers).toBe(1)
    // The test's own client and its worker are not among them: at most what one client and one worker take, and the last producer.
    expect(sessions).toBeLessThanOrEqual(8)
    expect(results).toEqual(["42", "42", "42", "reloaded"])
  }, 90_000)

  test("keeps all of them in production", async () => {
    const { workers, results } = await reloads("production")
    expect(workers).toBe(12)
    expect(results).toEqual(["42", "42", "42", "reloaded"])
  }, 90_000)
})

test("50 workers and 2,000 waits with long timers in one process: Node prints no warning, nor do we", async () => {
  const server = await startEmbedded({ logger: quietLogger, settings: { max_connections: "500", fsync: "off" } })
  try {
    const program = spawnScript(script("crowd"), [], { DATABASE_URL: server.connectionString, NODE_OPTIONS: "--trace-warnings" })
    await program.line("end", 90_000)
    const { code } = await within(program.exit, 5_000)
    expect([code, program.stderr]).toEqual([0, ""])
    expect(program.lines).toEqual(["2000 results, sum 1999000", "end"])
  } finally {
    await server.stop()
  }
}, 150_000)
