/**
 * Every string that a caller gives, through every door: it is refused with an error of ours, or stored as it is and found again. It is never part of a
 * statement's text: a table of somebody else's still stands afterwards, and the catalog is what it was.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { TuskError } from "../../src/api/errors.js"
import { type EnqueueOptions, Tusk } from "../../src/index.js"
import { sqlStateOf } from "../../src/postgres/run/sqlstate.js"
import { cli } from "../cli/run.js"
import { createDatabase, type TestDatabase } from "../support/database.js"

const STRINGS = [
  "'; drop table canary; --",
  '"; drop table canary; --',
  "\\'; drop table canary; --",
  "$$; drop table canary; $$",
  "$1",
  "%' or '1'='1",
  "x') union select null from tusk.jobs --",
  '"tusk".jobs; select pg_sleep(100)',
  "'||(select pg_sleep(100))||'",
  "{schema}.jobs",
  "{channel}",
  "%s %I %L",
  "__proto__",
  "constructor",
  "null",
  "a,b",
  '{"a","b"}',
  "\u202E\uFEFF right to left",
  "é漢字🐘'\"\\",
  "line\r\nbreak\ttab\u0001",
  " ",
  "",
  "a\0b",
  "\uD800",
  "x\uDC00y",
  "'".repeat(255),
  "x".repeat(100_000),
]

let db: TestDatabase
let tusk: Tusk
let catalog: unknown
const logger = { debug() {}, info() {}, warn() {}, error() {} }
const catalogOf = (): Promise<unknown> =>
  db.query(`select relname as name, relkind::text as kind, nspname as home from pg_class c join pg_namespace n on n.oid = relnamespace where nspname !~ '^pg_'
    union all select proname, provolatile::text, nspname from pg_proc p join pg_namespace n on n.oid = pronamespace where nspname !~ '^pg_'
    union all select nspname, 'n', '' from pg_namespace where nspname !~ '^pg_' union all select rolname, 'r', '' from pg_roles order by 1, 2, 3`)

beforeAll(async () => {
  db = await createDatabase()
  await db.query("create table canary (song text)")
  await db.query("insert into canary (song) values ('tweet')")
  await db.query("select tusk.partitions()")
  tusk = new Tusk({ connectionString: db.url, logger, signals: false })
  catalog = await catalogOf()
})
afterAll(async () => {
  expect(await db.query("select song from canary")).toEqual([{ song: "tweet" }])
  expect(await catalogOf()).toEqual(catalog)
  await tusk.close()
  await db.close()
})

const options = (given: EnqueueOptions): EnqueueOptions => ({ queue: "doors", ...given })
const stored = async (given: EnqueueOptions, args: readonly unknown[] = [], task = "t") => {
  const job = await tusk.enqueue(task, args, options(given))
  return { job, snapshot: await job.snapshot() }
}
const column = async (id: string, name: string): Promise<unknown> =>
  (await db.query(`select ${name} as value from tusk.jobs where id = $1`, [id]))[0].value

/** Each returns what it finds of the string. */
const DOORS: Readonly<Record<string, (s: string) => Promise<unknown>>> = {
  "the name of a task": async (s) => (await stored({}, [], s)).snapshot.task,
  "the option queue": async (s) => (await stored({ queue: s })).snapshot.queue,
  "an argument": async (s) => (await stored({}, [s])).snapshot.args[0],
  "a key of an argument": async (s) => Object.keys((await stored({}, [JSON.parse(`{${JSON.stringify(s)}: 1}`)])).snapshot.args[0] as object)[0],
  "the option id, and queue.job()": async (s) => {
    const { job, snapshot } = await stored({ id: s })
    expect((await tusk.queue("doors").job(s))?.id).toBe(job.id)
    return snapshot.customId
  },
  "queue.job()": async (s) => ((await tusk.queue("none").job(s)) === undefined ? s : "another"),
  "the option deduplicate, owner() and release()": async (s) => {
    const { job } = await stored({ deduplicate: s })
    expect(await tusk.queue("doors").owner(s)).toBe(job.id)
    expect(await tusk.queue("doors").release(s)).toBe(true)
    return s
  },
  "owner()": async (s) => ((await tusk.queue("none").owner(s)) === null ? s : "another"),
  "release()": async (s) => ((await tusk.queue("none").release(s)) ? "another" : s),
  "a header": async (s) => (await stored({ headers: { name: s } })).snapshot.headers["name"],
  "the name of a header": async (s) => Object.keys((await stored({ headers: JSON.parse(`{${JSON.stringify(s)}: "x"}`) })).snapshot.headers)[0],
  "the option concurrencyKey": async (s) => column((await stored({ concurrencyKey: s } as EnqueueOptions)).job.id, "concurrency_key"),
  "the option rateLimitKey": async (s) => column((await stored({ rateLimitKey: s } as EnqueueOptions)).job.id, "rate_key"),
  "in a transaction": async (s) => {
    const job = await tusk.transaction((tx) => tusk.enqueue("t", [s], options({ tx, id: `${s}!`, headers: { name: s } })))
    return (await job.snapshot()).args[0]
  },
  "the reason of cancel()": async (s) => {
    const { job } = await stored({})
    await job.cancel(s)
    return (await job.snapshot()).error?.message
  },
  dependsOn: async (s) => (await stored({ dependsOn: [s] })) && "stored",
  "the id of a job": async (s) => {
    for (const change of ["cancel", "retry", "promote", "remove"] as const) expect(await tusk.job(s)[change]()).toBe(false)
    return (await tusk.job(s).snapshot()) && "found"
  },
  "a name in a flow": async (s) => {
    const [, child] = await tusk.addFlow([
      { id: s, task: "t" },
      { id: `${s} child`, task: "t", dependsOn: [s] },
    ])
    expect((await tusk.job(child!).snapshot()).dependsOn).toHaveLength(1)
    return s
  },
  "the id of a schedule": async (s) => {
    await tusk.schedules.upsert({ id: s, task: "t", when: { every: "1h" }, options: { queue: "doors" } })
    const schedule = await tusk.schedules.get(s)
    expect(await tusk.schedules.pause(s)).toBe(true)
    expect(await tusk.schedules.resume(s)).toBe(true)
    expect((await tusk.schedules.preview(s, 1)).length).toBe(1)
    await tusk.schedules.trigger(s)
    expect(await tusk.schedules.remove(s)).toBe(true)
    return schedule?.id
  },
  "schedules.get()": async (s) => ((await tusk.schedules.get(s)) === undefined ? s : "another"),
  "schedules.pause(), resume() and remove()": async (s) => {
    expect([await tusk.schedules.pause(s), await tusk.schedules.resume(s), await tusk.schedules.remove(s)]).toEqual([false, false, false])
    return s
  },
  "schedules.trigger()": async (s) => (await tusk.schedules.trigger(s)) && "made",
  "the task and the arguments of a schedule": async (s) => {
    const schedule = await tusk.schedules.upsert({ id: "one", task: s, args: [s], when: { every: "1h" } })
    expect(schedule.task).toBe(s)
    return schedule.args[0]
  },
  "the cron pattern of a schedule": async (s) => (await tusk.schedules.upsert({ id: "two", task: "t", when: { cron: s } })) && "stored",
  "the time zone of a schedule": async (s) =>
    (await tusk.schedules.upsert({ id: "three", task: "t", when: { cron: "0 0 * * *", tz: s } })) && "stored",
  "a queue's administration": async (s) => {
    const queue = tusk.queue(s)
    await queue.pause()
    await queue.configure({ concurrency: 2 })
    await tusk.enqueue("t", [], { queue: s })
    const { name, paused, counts } = await queue.info()
    expect([paused, counts.waiting > 0]).toEqual([true, true])
    expect((await tusk.queues()).filter((one) => one.name === s)).toHaveLength(1)
    await queue.obliterate()
    expect((await queue.counts()).waiting).toBe(0)
    return name
  },
  "the filter queue": async (s) => {
    await tusk.enqueue("t", [], { queue: s })
    return (await tusk.jobs({ queue: s })).jobs[0]?.queue
  },
  "the filter task": async (s) => {
    await tusk.enqueue(s, [], { queue: "doors" })
    return (await tusk.jobs({ task: s })).jobs[0]?.task
  },
  "the filter text": async (s) => {
    await stored({}, [`before ${s} after`])
    const found = (await tusk.jobs({ text: `before ${s} after`, queue: "doors", limit: 1 })).jobs[0]?.args[0]
    return found === `before ${s} after` ? s : found
  },
  "the filter args": async (s) => {
    await stored({}, [s])
    return (await tusk.jobs({ args: [s], queue: "doors" })).jobs[0]?.args[0]
  },
  "the filters state, order and after": async (s) => {
    for (const field of ["state", "order", "after"]) await expect(tusk.jobs({ [field]: s } as object)).rejects.toBeInstanceOf(TuskError)
    return s
  },
  "bulk calls": async (s) => {
    const queue = tusk.queue("doors")
    expect(await queue.redrive({ text: s, task: s, preview: true })).toBe(0)
    expect(await queue.cancelAll({ task: `no ${s}` })).toBe(0)
    return s
  },
  "a worker's queue": async (s) => {
    const worker = await tusk.work({ queues: [s] })
    const queues = (await tusk.workers()).find(({ id }) => id === worker.id)?.queues
    await worker.stop()
    return queues?.[0]
  },
  "the option schema": async (s) => {
    const other = new Tusk({ connectionString: db.url, schema: s, logger })
    try {
      return await other.workers()
    } finally {
      await other.close()
    }
  },
  "the SQL function: task": async (s) => {
    const [row] = await db.query("select tusk.enqueue($1) as id", [s])
    return column(row.id, "task")
  },
  "the SQL function: arguments, queue, id, key, headers": async (s) => {
    const given = { queue: s, id: `a${s}`, deduplicate: `b${s}`, headers: { name: s }, concurrencyKey: s }
    const [row] = await db.query("select tusk.enqueue('t', $1, $2) as id", [JSON.stringify([s]), JSON.stringify(given)])
    const { args, headers, queue } = await tusk.job(row.id).snapshot()
    expect([headers["name"], queue]).toEqual([s, s])
    return args[0]
  },
}

describe.each(Object.keys(DOORS))("%s", (name) => {
  test.each(STRINGS.map((s) => [s.length > 60 ? `${s.length} times ${s[0]}` : JSON.stringify(s), s] as const))("%s", async (_, s) => {
    let found: unknown
    try {
      found = await DOORS[name]!(s)
    } catch (error) {
      if (error instanceof TuskError) {
        expect(error.message.length).toBeLessThan(2_000)
        return
      }
      // What SQL is given itself, Postgres may refuse: U+0000 is not text.
      if (name.startsWith("the SQL") && ["PT400", "22021", "22P05", "22P02"].includes(sqlStateOf(error) ?? "")) return
      throw error
    }
    // Halves of surrogate pairs are gone before SQL sees them: the driver has no bytes for them.
    expect(found).toBe(name.startsWith("the SQL") ? Buffer.from(s).toString() : s)
  })
})

describe("the command line", () => {
  const run = (...args: string[]) => cli(args, { DATABASE_URL: db.url })

  test.each(STRINGS.slice(0, 3))("%s", { timeout: 60_000 }, async (s) => {
    const made = await run("enqueue", s, JSON.stringify([s]), "--options", JSON.stringify({ queue: s, id: s }))
    expect(made).toMatchObject({ code: 0 })
    expect(await tusk.job(made.stdout).snapshot()).toMatchObject({ task: s, queue: s, args: [s], customId: s })
    for (const args of [
      ["enqueue", "t", s],
      ["enqueue", "t", "--options", s],
      ["status", "--schema", s],
    ]) {
      const { code, stderr } = await run(...args)
      expect(code).toBe(1)
      expect(stderr).not.toMatch(/^\s+at /m)
    }
  })
})
