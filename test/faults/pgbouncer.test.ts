/** Stock settings behind a real PgBouncer in transaction mode: everything works, by polling. */
import pg from "pg"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { currentJob, flow, task } from "../../src/index.js"
import { rejection } from "../jobs/setup.js"
import { findPgBouncer, type PgBouncer, startPgBouncer } from "../support/pgbouncer.js"
import { waitFor } from "../support/wait.js"
import { Gate, ground } from "../worker/ground.js"

const on = ground()
const program = findPgBouncer()
let bouncer: PgBouncer

const title = `behind PgBouncer${program === undefined ? " (skipped: it is not installed; on Debian apt-get install pgbouncer)" : ""}`

describe.skipIf(program === undefined)(title, () => {
  beforeAll(async () => {
    bouncer = await startPgBouncer(program!, on.db.url, 3)
  })
  afterAll(() => bouncer?.close())

  const open = () => on.open({ connectionString: bouncer.url })
  /** Results and cancels do not wait for a poll then. */
  const listening = () => on.open({ connectionString: bouncer.url, listenConnectionString: on.db.url })
  /** Statements of several connections at once, so that sessions and connections are mixed for certain. */
  const mix = (tusk: ReturnType<typeof open>): Promise<unknown> => Promise.all(Array.from({ length: 12 }, () => tusk.queue("any").counts()))

  test("jobs run and give results, and the log says once per client what is missing", async () => {
    const queue = on.name("q")
    const add = task({ name: on.name("add"), queue, retries: 2, backoff: 0 }, (a: number, b: number) => {
      if (currentJob().attempt === 1 && a === 0) throw new Error("once more")
      return a + b
    })
    const tusk = open()
    await tusk.work({ queues: [queue] })
    const jobs = await Promise.all(Array.from({ length: 40 }, (_, n) => add.enqueue(n, 1)))
    expect(await Promise.all(jobs.map((job) => job.result({ timeout: 20 })))).toEqual(jobs.map((_, n) => n + 1))
    await mix(tusk)
    expect(on.messages("info").filter((line) => /prepared statement/.test(line))).toEqual([
      expect.stringMatching(/pooler in transaction mode.*preparedStatements: false/),
    ])
    await waitFor(() => on.messages("warn").some((line) => line.includes("listenConnectionString")), { timeout: 15_000 })
    expect(on.messages("error")).toEqual([])
    expect(on.messages("warn").filter((line) => !line.includes("listenConnectionString"))).toEqual([])
  })

  test("a job from another process is found by polling", async () => {
    const queue = on.name("q")
    const hello = task({ name: on.name("hello"), queue }, (who: string) => `hello ${who}`)
    await open().work({ queues: [queue], poll: "200ms" })
    const job = await hello.with({ via: on.open({ connectionString: on.db.url }) }).enqueue("you")
    expect(await job.result({ timeout: 20 })).toBe("hello you")
  })

  test("cancels reach what runs, and what waits", async () => {
    const queue = on.name("q")
    const gate = new Gate()
    const hold = task({ name: on.name("hold"), queue }, () => gate.pass("hold", currentJob().signal))
    await listening().work({ queues: [queue] })
    const running = await hold.enqueue()
    const waiting = await hold.with({ delay: "1h" }).enqueue()
    await waitFor(() => gate.waiting === 1)
    expect(await running.cancel("stop")).toBe(true)
    expect(await waiting.cancel("never mind")).toBe(true)
    expect(await running.settled({ timeout: 20 })).toMatchObject({ error: { code: "JOB_CANCELLED", message: "stop" } })
    expect(await waiting.settled({ timeout: 20 })).toMatchObject({ error: { code: "JOB_CANCELLED", message: "never mind" } })
  })

  test("flows pass results on", async () => {
    const queue = on.name("q")
    const one = task({ name: on.name("one"), queue }, (n: number) => n + 1)
    const sum = task({ name: on.name("sum"), queue }, (a: number, b: number) => a + b)
    await listening().work({ queues: [queue] })
    const end = await flow("sum", (f) => f.add(sum.call(f.add(one.call(1)).result, f.add(one.call(2)).result))).enqueue()
    expect(await end.result({ timeout: 20 })).toBe(5)
  })

  test("transactional handlers and tusk.transaction() commit or roll back", async () => {
    await on.db.query("create table effects (label text)")
    const queue = on.name("q")
    const book = task({ name: on.name("book"), queue, transactional: true }, async (label: string) => {
      await currentJob().tx.query("insert into effects (label) values ($1)", [label])
      if (label === "bad") throw new Error("no")
      return label
    })
    const tusk = listening()
    await tusk.work({ queues: [queue] })
    const jobs = await tusk.transaction(async (tx) => {
      await tx.query("insert into effects (label) values ('before')")
      return book.with({ tx }).enqueueMany(["a", "b", "c", "bad"].map((label) => [label] as [string]))
    })
    expect(await Promise.all(jobs.slice(0, 3).map((job) => job.result({ timeout: 20 })))).toEqual(["a", "b", "c"])
    expect(await rejection(jobs[3]!.result({ timeout: 20 }))).toMatchObject({ code: "JOB_FAILED" })
    expect((await on.db.query("select label from effects order by 1")).map((row) => row.label)).toEqual(["a", "b", "before", "c"])
    // Not one ran twice: a transaction whose settle failed by a lost name would have run again.
    expect((await Promise.all(jobs.map((job) => job.snapshot()))).map((job) => job.attempt)).toEqual([1, 1, 1, 1])
  })

  test("schedules fire", async () => {
    const queue = on.name("q")
    const ran: string[] = []
    const tick = task({ name: on.name("tick"), queue }, (label: string) => void ran.push(label))
    await listening().work({ queues: [queue] })
    await tick.schedule(on.name("every"), { every: "1s" }, "tick")
    await waitFor(() => ran.length >= 1)
  })

  test("leaves no settings in the sessions that others share, and reads committed whatever their default is", async () => {
    await on.db.query(`alter database "${on.db.name}" set default_transaction_isolation = 'serializable'`)
    const fresh = await startPgBouncer(program!, on.db.url, 2)
    try {
      const queue = on.name("q")
      const level = task({ name: on.name("level"), queue, transactional: true }, async () => {
        const { rows } = await currentJob().tx.query<{ level: string }>("select current_setting('transaction_isolation') as level")
        return rows[0]!.level
      })
      await on.open({ connectionString: fresh.url, listenConnectionString: on.db.url }).work({ queues: [queue] })
      const jobs = await Promise.all(Array.from({ length: 10 }, () => level.enqueue()))
      expect(new Set(await Promise.all(jobs.map((job) => job.result({ timeout: 20 }))))).toEqual(new Set(["read committed"]))
      const shared = new pg.Pool({ connectionString: fresh.url, max: 4 })
      const seen = await Promise.all(
        Array.from(
          { length: 8 },
          async () => (await shared.query("select pg_sleep(0.02), current_setting('transaction_isolation') as level")).rows[0].level,
        ),
      )
      await shared.end()
      expect(new Set(seen)).toEqual(new Set(["serializable"]))
    } finally {
      await fresh.close()
      await on.db.query(`alter database "${on.db.name}" reset default_transaction_isolation`)
    }
  })
})
