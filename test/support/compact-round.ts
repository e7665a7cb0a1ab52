/** The library from one end to the other in a moment: what a server with unusual settings has to let through. */
import { Migrator, NO_MIGRATIONS } from "kysely"
import pg from "pg"
import { expect } from "vitest"
import { migrationsFor } from "../../migrations/index.js"
import type { TuskOptions } from "../../src/api/client.js"
import { currentJob, flow, Tusk, task } from "../../src/index.js"
import { kyselyOver } from "../../src/postgres/run/kysely.js"
import { schemaNames } from "../../src/postgres/statements/names.js"
import { waitFor } from "./wait.js"

const AT = new Date("2031-03-01T12:00:00.123Z")
const QUEUE = "compact"
let failures = 0
let running = 0
let most = 0

const add = task({ name: "compact.add", queue: QUEUE, retries: 1, backoff: { fixed: "20ms" } }, async (a: number, at: Date) => {
  if (a === 13 && currentJob().attempt === 1) {
    failures++
    throw new Error("unlucky")
  }
  return { sum: a + 1, at }
})
const broken = task({ name: "compact.broken", queue: QUEUE, retries: 0, deduplicate: () => "k" }, async () => {
  throw new Error("always")
})
const inside = task({ name: "compact.inside", queue: QUEUE, transactional: true }, async () => {
  const { rows } = await currentJob().tx!.query("select 1 + 1 as two")
  return Number((rows[0] as { two: number }).two)
})
const limited = task({ name: "compact.limited", queue: QUEUE, concurrency: { limit: 1, key: () => "a" } }, async () => {
  most = Math.max(most, ++running)
  await new Promise((resolve) => setTimeout(resolve, 5))
  running--
})
const total = task({ name: "compact.total", queue: QUEUE }, async (one: number, two: number) => one + two)
const pass = task({ name: "compact.pass", queue: QUEUE }, async (n: number) => n)
const kept = task({ name: "compact.kept", queue: QUEUE, keep: { completed: "20d" } }, async () => "kept")

export interface RoundOptions {
  /** The connection that undoes the migrations at the end. Default: they stay. */
  readonly undo?: pg.ClientConfig
  /** Statements of the schema's owner, for what only time would bring about. */
  readonly sql: (text: string) => Promise<any[]>
}

/** Each thing that the library does, once. Returns what the client logged as an error. */
export async function compactRound(options: TuskOptions, { sql, undo }: RoundOptions): Promise<string[]> {
  const errors: string[] = []
  const error = (message: string, fields?: object): void => void errors.push(`${message} ${JSON.stringify(fields ?? {})}`)
  const tusk = new Tusk({ signals: false, logger: { debug() {}, info() {}, warn() {}, error }, ...options })
  const via = { via: tusk }
  const long = { timeout: "60s" } as const
  failures = most = 0
  try {
    expect((await tusk.migrate()).applied).toHaveLength(Object.keys(migrationsFor(schemaNames(tusk.schema))).length)
    expect((await tusk.migrate()).applied).toEqual([])
    const worker = await tusk.work({ queues: { [QUEUE]: 5 } })
    const events: string[] = []
    await tusk.events.on("*", (event) => void events.push(event.name)).ready

    // Enqueue in each way, work, retry.
    const jobs = await Promise.all([
      ...[1, 2, 13].map((n) => add.with(via).enqueue(n, AT)),
      add.with({ ...via, id: "own", delay: "50ms", headers: { a: "b" } }).enqueue(4, AT),
      tusk.transaction((tx) => add.with({ ...via, tx }).enqueue(5, AT)),
    ])
    const undone = tusk.transaction(async (tx) => {
      await add.with({ ...via, tx, id: "undone" }).enqueue(6, AT)
      throw new Error("rolled back")
    })
    await expect(undone).rejects.toThrow("rolled back")
    expect((await Promise.all(jobs.map((job) => job.result(long)))).map(({ sum, at }) => [sum, at])).toEqual([2, 3, 14, 5, 6].map((n) => [n, AT]))
    expect(failures).toBe(1)
    expect(await tusk.queue(QUEUE).job("undone")).toBeUndefined()
    expect(await (await inside.with(via).enqueue()).result(long)).toBe(2)

    // Failures: dead letters, retry, redrive.
    const failed = await broken.with(via).enqueue()
    expect((await failed.settled(long)).ok).toBe(false)
    expect(await failed.retry()).toBe(true)
    expect((await failed.settled(long)).ok).toBe(false)
    expect((await tusk.queue(QUEUE).deadLetters()).jobs.map(({ id }) => id)).toEqual([failed.id])

    // Limits, a flow, a schedule.
    const alone = await limited.with(via).enqueueMany([[], [], []])
    const sum = await flow("compact", (f) => {
      const [one, two] = [f.add(pass.call(1)), f.add(pass.call(2))]
      return f.add(total.call(one.result, two.result), { after: [one, two] })
    }).enqueue(via)
    expect(await sum.result(long)).toBe(3)
    for (const job of alone) await job.settled(long)
    expect(most).toBe(1)
    await pass.with(via).schedule("soon", { every: "100ms", limit: 1 }, 7)
    await waitFor(async () => (await tusk.jobs({ queue: QUEUE, task: "compact.pass", args: [7] })).jobs[0]?.state === "completed", {
      timeout: 60_000,
      what: "the schedule's job to be done",
    })
    expect(await tusk.schedules.remove("soon")).toBe(true)

    // Look, move, cancel.
    const later = await add.with({ ...via, delay: "1h" }).enqueue(7, AT)
    expect((await later.explain()).reasons.map(({ code }) => code)).toEqual(["delayed"])
    expect(await later.promote()).toBe(true)
    await later.result(long)
    const never = await add.with({ ...via, delay: "1h" }).enqueue(8, AT)
    expect(await never.cancel()).toBe(true)
    expect((await never.settled(long)).ok).toBe(false)

    // What time brings: keys and long-kept jobs are pruned, a past day's partition goes.
    const old = await kept.with(via).enqueue()
    await old.result(long)
    await waitFor(() => events.includes("job:failed") && events.includes("job:retrying"), { timeout: 60_000, what: "the events" })
    await worker.drain()
    const finished = `"${tusk.schema}".finished_jobs`
    await sql(`update ${finished} set keep_until = pg_catalog.now() where id operator(pg_catalog.=) '${old.id}'`)
    await sql(`create table ${finished.replace("jobs", "jobs_20200102")} partition of ${finished} for values from ('2020-01-02') to ('2020-01-03')`)
    const next = await tusk.work({ queues: [QUEUE] })
    await waitFor(
      async () => {
        const left = await sql(
          `select id::pg_catalog.text as name from ${finished} where id operator(pg_catalog.=) '${old.id}' union all
           select relname::pg_catalog.text from pg_catalog.pg_class where relname operator(pg_catalog.=) 'finished_jobs_20200102'`,
        )
        return left.length === 0
      },
      { timeout: 60_000, what: "old jobs to be pruned, and the past day to be dropped" },
    )
    await next.drain()
    await tusk.queue(QUEUE).obliterate({ force: true })
    expect((await tusk.jobs({ queue: QUEUE })).jobs).toEqual([])
  } finally {
    await tusk.close()
  }
  if (undo !== undefined) await down(undo, tusk.schema)
  return errors
}

/** All migrations down, as another tool's migrator does it. */
async function down(config: pg.ClientConfig, schema: string): Promise<void> {
  const client = new pg.Client(config)
  client.on("error", () => undefined)
  await client.connect()
  // The migrator's own transaction is begun here: this Kysely begins none.
  await client.query("begin")
  const db = kyselyOver({ query: (text, values) => client.query<any>(text, values as unknown[]) })
  const migrator = new Migrator({
    ...{ db, provider: { getMigrations: async () => migrationsFor(schemaNames(schema)) } },
    ...{ migrationTableSchema: schema, migrationTableName: "migration", migrationLockTableName: "migration_lock" },
  })
  try {
    const { error, results } = await migrator.migrateTo(NO_MIGRATIONS)
    if (error !== undefined) throw error
    expect(results).toHaveLength(Object.keys(migrationsFor(schemaNames(schema))).length)
    await client.query("commit")
    const { rows } = await client.query(
      `select relname from pg_catalog.pg_class where relnamespace = '${schema}'::regnamespace and relkind in ('r', 'p')`,
    )
    expect(rows.map(({ relname }) => relname).sort()).toEqual(["migration", "migration_lock"])
  } finally {
    await client.end()
  }
}
