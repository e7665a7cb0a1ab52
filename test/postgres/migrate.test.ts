import { Migrator, NO_MIGRATIONS } from "kysely"
import { describe, expect, onTestFinished, test } from "vitest"
import { migrationsFor } from "../../migrations/index.js"
import { SchemaVersionError, TuskError } from "../../src/api/errors.js"
import { task } from "../../src/index.js"
import type { Executor } from "../../src/postgres/run/executor.js"
import { migrateIn, migrationSql } from "../../src/postgres/schema/migrate.js"
import { assertSchema } from "../../src/postgres/schema/schema-version.js"
import { schemaNames } from "../../src/postgres/statements/names.js"
import { connect, openTusk, rejection } from "../jobs/setup.js"
import { createDatabase, type TestDatabase } from "../support/database.js"
import { spawnScript } from "../support/process.js"
import { catalogOf, migratedCatalog } from "./catalog.js"
import { openKysely } from "./transaction-clients/kysely.js"

const work = task({ name: "work" }, async (n: number) => n)
const names = schemaNames("tusk")
const all = Object.keys(migrationsFor(names))

async function database(migrated = false): Promise<TestDatabase> {
  const db = await createDatabase({ migrated })
  onTestFinished(() => db.close())
  return db
}

describe("migrate", () => {
  test("makes the schema, says what it applied, and does nothing the second time", async () => {
    const db = await database()
    const tusk = openTusk({ connectionString: db.url })
    expect(await tusk.migrate()).toEqual({ applied: all })
    expect(await tusk.migrate()).toEqual({ applied: [] })
    const job = await work.with({ via: tusk }).enqueue(1)
    expect(await job.state()).toBe("waiting")
  })

  test("five processes at once end in one schema, and one of them made it", async () => {
    const db = await database()
    const scripts = Array.from({ length: 5 }, () => spawnScript(new URL("./fixtures/migrate.ts", import.meta.url), [], { DATABASE_URL: db.url }))
    await Promise.all(scripts.map((script) => script.line("ready", 60_000)))
    for (const script of scripts) script.send("go")
    const applied = await Promise.all(scripts.map(async (script) => JSON.parse((await script.line(/^applied/, 30_000)).slice(8))))
    expect(applied.toSorted((a, b) => b.length - a.length)).toEqual([all, [], [], [], []])
    expect(await catalogOf(db)).toEqual(await migratedCatalog())
  }, 120_000)

  test("twenty at once in one process, in two schemas", async () => {
    const db = await database()
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, (_, i) => openTusk({ connectionString: db.url, schema: i % 2 === 0 ? "first_schema" : "other_schema" }).migrate()),
    )
    expect(outcomes.filter((outcome) => outcome.applied.length > 0)).toHaveLength(2)
    const of = async (schema: string): Promise<string> => (await catalogOf(db, schema)).join("\n").replaceAll(schema, "tusk")
    expect(await of("first_schema")).toEqual(await of("other_schema"))
  })

  test("with the option migrate: true it comes with the first use, in a transaction too, and only once", async () => {
    for (const use of ["enqueue", "transaction", "work"] as const) {
      const db = await database()
      const tusk = openTusk({ connectionString: db.url, migrate: true })
      if (use === "enqueue") expect(await Promise.all([1, 2, 3].map((n) => work.with({ via: tusk }).enqueue(n)))).toHaveLength(3)
      if (use === "transaction") await tusk.transaction((tx) => work.with({ via: tusk, tx }).enqueue(1))
      if (use === "work") await tusk.work({ queues: ["default"] })
      expect(await db.query("select name from tusk.migration order by name")).toEqual(all.map((name) => ({ name })))
    }
  })

  test("a failure in the middle leaves nothing behind, and says what failed", async () => {
    const db = await database()
    await db.query("create schema tusk")
    await db.query("create table tusk.schedules (mine int)")
    const error = await rejection(openTusk({ connectionString: db.url }).migrate())
    expect(error).toBeInstanceOf(TuskError)
    expect(error.message).toMatch(/^The migration on Postgres at \S+ failed, and nothing has changed: relation "schedules" already exists$/)
    expect(error.cause).toMatchObject({ code: "42P07", message: 'relation "schedules" already exists' })
    expect(await db.query("select relname from pg_class c join pg_namespace n on n.oid = c.relnamespace where nspname = 'tusk'")).toEqual([
      { relname: "schedules" },
    ])
  })

  test("down takes everything away again", async () => {
    const db = await database(true)
    expect(await undo(db.url)).toBeUndefined()
    const left = await db.query(
      `select relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace where nspname = 'tusk' and relkind in ('r', 'p', 'S')
       union all select proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace where nspname = 'tusk'
       union all select typname from pg_type t join pg_namespace n on n.oid = t.typnamespace where nspname = 'tusk' and typtype = 'e' order by 1`,
    )
    expect(left).toEqual([{ name: "migration" }, { name: "migration_lock" }])
    expect(await openTusk({ connectionString: db.url }).migrate()).toEqual({ applied: all })
    expect(await catalogOf(db)).toEqual(await migratedCatalog())
  })

  test("down refuses to lose jobs and schedules, says which, and changes nothing; the session can say that they may go", async () => {
    const db = await database(true)
    const whole = await catalogOf(db)
    const tusk = openTusk({ connectionString: db.url })
    await work.with({ via: tusk }).enqueueMany([[1], [2]])
    const gone = await work.with({ via: tusk, delay: "1h" }).enqueue(3)
    await gone.cancel()
    await tusk.schedules.upsert({ id: "nightly", task: "work", args: [1], when: { cron: "0 3 * * *" } })
    const refused = await undo(db.url)
    expect(refused?.message).toBe(
      'Undoing 0001_tables would lose what the schema "tusk" holds: live jobs: 2, finished jobs: 1, schedules: 1. ' +
        'If they may go, say so in the session: set pgtusk.lose_data = on, or PGOPTIONS="-c pgtusk.lose_data=on" for a tool',
    )
    expect(await catalogOf(db)).toEqual(whole)
    expect((await work.with({ via: tusk }).enqueue(4)).created).toBe(true)
    expect(await undo(`${db.url}${db.url.includes("?") ? "&" : "?"}options=-c%20pgtusk.lose_data%3Don`)).toBeUndefined()
    expect(await db.query("select from pg_class where relnamespace = 'tusk'::regnamespace and relname = 'jobs'")).toEqual([])
  })
})

/** All migrations down; what Kysely's migrator says of it. */
async function undo(url: string): Promise<any> {
  const kysely = openKysely(url)
  const migrator = new Migrator({
    ...{ db: kysely, provider: { getMigrations: async () => migrationsFor(names) } },
    ...{ migrationTableSchema: "tusk", migrationTableName: "migration", migrationLockTableName: "migration_lock" },
  })
  const { error } = await migrator.migrateTo(NO_MIGRATIONS)
  await kysely.destroy()
  return error
}

describe("a schema that does not fit: one SchemaVersionError, for producers and workers alike", () => {
  async function allWays(db: TestDatabase): Promise<any[]> {
    const tusk = openTusk({ connectionString: db.url })
    const client = await connect(db.url)
    await client.query("begin")
    const errors = [
      await rejection(work.with({ via: tusk }).enqueue(1)),
      await rejection(work.with({ via: tusk, id: "x" }).enqueueMany([[1]])),
      await rejection(work.with({ via: tusk, tx: client }).enqueue(1)),
      await rejection(tusk.transaction((tx) => work.with({ via: tusk, tx }).enqueue(1))),
      await rejection(tusk.job("01890000-0000-7000-8000-000000000000").state()),
      await rejection(tusk.job("01890000-0000-7000-8000-000000000000").result()),
      await rejection(tusk.work({ queues: ["default"] })),
      await rejection(tusk.workers()),
    ]
    // The caller's transaction is none the worse for it.
    expect((await client.query("select 1 as one")).rows).toEqual([{ one: 1 }])
    await client.query("rollback")
    for (const error of errors) expect(error).toBeInstanceOf(SchemaVersionError)
    return [...new Set(errors.map((error) => error.message))]
  }

  test("missing", async () => {
    const db = await database()
    expect(await allWays(db)).toEqual([
      'The database has no pgtusk schema "tusk"; run `npx pgtusk migrate` (or `await tusk.migrate()`, or take the SQL from `npx pgtusk migrate --sql`)',
    ])
    await db.query("create schema tusk")
    await db.query("create table tusk.jobs (mine int)")
    expect(await allWays(db)).toHaveLength(1)
  })

  test("older", async () => {
    const db = await database(true)
    await db.query("update tusk.meta set version = 0")
    expect(await allWays(db)).toEqual([
      expect.stringMatching(/^The schema "tusk" has version 0, and this pgtusk needs \d+; run `npx pgtusk migrate`/),
    ])
  })

  test("newer, and closed to this version", async () => {
    const db = await database(true)
    await db.query("update tusk.meta set version = 99, min_version = 98")
    const [message, ...others] = await allWays(db)
    expect(message).toMatch(/The schema "tusk" has version 99, and this pgtusk knows \d+: a newer pgtusk has migrated it; upgrade the package here/)
    expect(others).toEqual([])
    expect(await rejection(openTusk({ connectionString: db.url }).migrate())).toBeInstanceOf(SchemaVersionError)
    expect(await rejection(work.with({ via: openTusk({ connectionString: db.url, migrate: true }) }).enqueue(1))).toBeInstanceOf(SchemaVersionError)
  })

  test("newer, but still open to this version: all goes on", async () => {
    const db = await database(true)
    await db.query("update tusk.meta set version = 99")
    const tusk = openTusk({ connectionString: db.url })
    await tusk.work({ queues: ["default"] })
    expect(await (await work.with({ via: tusk }).enqueue(5)).result({ timeout: 10 })).toBe(5)
    // One that migrates by itself has nothing to do, and starts all the same.
    expect(await (await work.with({ via: openTusk({ connectionString: db.url, migrate: true }) }).enqueue(6)).result({ timeout: 10 })).toBe(6)
  })

  test("it is looked at again once somebody has migrated", async () => {
    const db = await database()
    const tusk = openTusk({ connectionString: db.url })
    expect(await rejection(work.with({ via: tusk }).enqueue(1))).toBeInstanceOf(SchemaVersionError)
    await openTusk({ connectionString: db.url }).migrate()
    expect((await work.with({ via: tusk }).enqueue(1)).created).toBe(true)
  })

  test("a server older than 14 is refused before anything is asked of it", async () => {
    const asked: string[] = []
    const old: Executor = {
      async query(text) {
        asked.push(text)
        return { rows: [{ number: "130016", version: "13.16 (Debian 13.16-1)" }] as any[], rowCount: 1 }
      },
    }
    for (const run of [() => migrateIn(old, names), () => assertSchema(old, names)]) {
      asked.length = 0
      const error = await rejection(run())
      expect(error).toBeInstanceOf(SchemaVersionError)
      expect(error.message).toBe("pgtusk needs PostgreSQL 14 or newer; this server is 13.16 (Debian 13.16-1)")
      expect(asked).toHaveLength(1)
    }
  })
})

describe("the SQL of the migrations", () => {
  test.each(["tusk", 'Odd "name" it\'s 100%'])("makes the same catalog in schema %s, and migrate() finds nothing to do", async (schema) => {
    const [bySql, byCode] = [await database(), await database()]
    const client = await connect(bySql.url)
    await client.query(await migrationSql(schemaNames(schema)))
    const tusk = openTusk({ connectionString: bySql.url, schema })
    await openTusk({ connectionString: byCode.url, schema }).migrate()
    expect(await catalogOf(bySql, schema)).toEqual(await catalogOf(byCode, schema))
    expect(await tusk.migrate()).toEqual({ applied: [] })
    const job = await work.with({ via: tusk }).enqueue(1)
    expect(await job.state()).toBe("waiting")
  })

  test("can be had from a number on", async () => {
    const db = await database()
    const client = await connect(db.url)
    const whole = await migrationSql(names)
    const first = `${whole.slice(0, whole.indexOf("-- 0002_functions"))}\ncommit;`
    await client.query(first)
    expect(await db.query("select name from tusk.migration")).toEqual([{ name: "0001_tables" }])
    const rest = await migrationSql(names, 1)
    // Of tables that are in use it waits for no lock that stops all workers meanwhile.
    expect(rest).toMatch(/^begin;\nset local lock_timeout = '2000ms';\n/)
    await client.query(rest)
    expect(await catalogOf(db)).toEqual(await migratedCatalog())
  })

  test("is one transaction: a fault leaves nothing behind", async () => {
    const db = await database()
    await db.query("create schema tusk")
    await db.query("create table tusk.meta (mine int)")
    const client = await connect(db.url)
    expect((await rejection(client.query(await migrationSql(names)))).code).toBe("42P07")
    expect(await db.query("select 1 from pg_class where relname = 'jobs'")).toEqual([])
  })
})
