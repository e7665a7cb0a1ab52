/** migrate({ tx }): the schema as part of somebody else's migration. */
import { type Migration, Migrator } from "kysely"
import { describe, expect, onTestFinished, test } from "vitest"
import { SchemaVersionError } from "../../src/api/errors.js"
import { task } from "../../src/index.js"
import { connect, openTusk, rejection } from "../jobs/setup.js"
import { createDatabase, type TestDatabase } from "../support/database.js"
import { catalogOf, migratedCatalog } from "./catalog.js"
import { supportedClients } from "./transaction-clients/index.js"
import { openKysely } from "./transaction-clients/kysely.js"

const work = task({ name: "work" }, async (n: number) => n)

async function database(migrated = false): Promise<TestDatabase> {
  const db = await createDatabase({ migrated })
  onTestFinished(() => db.close())
  return db
}
const schemas = (db: TestDatabase): Promise<unknown[]> => db.query("select nspname from pg_namespace where nspname = 'tusk'")

describe("in a plain transaction of pg", () => {
  test("commits with it, and serves the rest of it already", async () => {
    const db = await database()
    const tusk = openTusk({ connectionString: db.url })
    const client = await connect(db.url)
    await client.query("begin")
    const { applied } = await tusk.migrate({ tx: client })
    expect(applied.length).toBeGreaterThan(0)
    const job = await work.with({ via: tusk, tx: client }).enqueue(1)
    expect(await schemas(db)).toEqual([])
    await client.query("commit")
    expect(await job.state()).toBe("waiting")
    expect(await catalogOf(db)).toEqual(await migratedCatalog())
  })

  test("rolls back with it; afterwards the client says that the schema is missing", async () => {
    const db = await database()
    const tusk = openTusk({ connectionString: db.url })
    const client = await connect(db.url)
    await client.query("begin")
    await tusk.migrate({ tx: client })
    await work.with({ via: tusk, tx: client }).enqueue(1)
    await client.query("rollback")
    expect(await schemas(db)).toEqual([])
    expect(await rejection(work.with({ via: tusk }).enqueue(1))).toBeInstanceOf(SchemaVersionError)
  })

  test("a second one waits for the first, and finds its work done", async () => {
    const db = await database()
    const tusk = openTusk({ connectionString: db.url })
    const client = await connect(db.url)
    await client.query("begin")
    await tusk.migrate({ tx: client })
    const second = openTusk({ connectionString: db.url }).migrate()
    await client.query("commit")
    expect(await second).toEqual({ applied: [] })
  })
})

test("in a migration of the user's own, run by Kysely's Migrator", async () => {
  const db = await database()
  const tusk = openTusk({ connectionString: db.url })
  const kysely = openKysely(db.url)
  const migrations: Record<string, Migration> = {
    "001_orders": { up: (trx) => trx.schema.createTable("orders").addColumn("id", "integer").execute() },
    "002_queue": {
      async up(trx) {
        await tusk.migrate({ tx: trx })
      },
    },
  }
  const migratorOf = (list: Record<string, Migration>) => new Migrator({ db: kysely, provider: { getMigrations: async () => list } })
  const broken = await migratorOf({
    ...migrations,
    "003_broken": { up: (trx) => trx.schema.createTable("orders").execute() },
  }).migrateToLatest()
  expect(broken.error).toBeDefined()
  expect(await schemas(db)).toEqual([])
  const { error } = await migratorOf(migrations).migrateToLatest()
  expect(error).toBeUndefined()
  expect(await catalogOf(db)).toEqual(await migratedCatalog())
  expect((await work.with({ via: tusk }).enqueue(1)).created).toBe(true)
  await kysely.destroy()
})

test.each(supportedClients)("through $name: rollback leaves nothing, commit leaves the whole schema", async ({ open }) => {
  const db = await database()
  await db.query("create table notes (id serial primary key, body text not null)")
  const tusk = openTusk({ connectionString: db.url })
  const client = await open(db.url)
  await client
    .transaction(async ({ tx }) => {
      await tusk.migrate({ tx })
      throw new Error("changed my mind")
    })
    .then(
      () => expect.unreachable(),
      (error: Error) => expect(error.message).toBe("changed my mind"),
    )
  expect(await schemas(db)).toEqual([])
  await client.transaction(async ({ tx }) => {
    await tusk.migrate({ tx })
    await work.with({ via: tusk, tx }).enqueue(1)
  })
  await client.close()
  expect(await catalogOf(db)).toEqual(await migratedCatalog())
  expect(await db.query("select args from tusk.jobs")).toEqual([{ args: [1] }])
})
