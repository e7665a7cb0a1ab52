import { readFile } from "node:fs/promises"
import pg from "pg"
import { afterAll, describe, expect, test } from "vitest"
import { migrateUrl } from "../../src/postgres/migrate.js"
import { root, run } from "../package/project.js"
import { createDatabase, type TestDatabase } from "../support/database.js"
import { dumpSchema } from "./dump.js"

const golden = await readFile(new URL("schema.sql", import.meta.url), "utf8")
const open: TestDatabase[] = []
afterAll(() => Promise.all(open.map((db) => db.close())))

async function database(options?: { migrated?: boolean }): Promise<TestDatabase> {
  const db = await createDatabase(options)
  open.push(db)
  return db
}

async function dump(db: TestDatabase, schema?: string): Promise<string> {
  const client = new pg.Client({ connectionString: db.url })
  await client.connect()
  try {
    return await dumpSchema(client, schema)
  } finally {
    await client.end()
  }
}

describe("the golden schema", () => {
  // Out of step on purpose? `npm run codegen`, and commit the difference.
  test("is what the migrations make, on this server", async () => {
    expect(await dump(await database())).toBe(golden)
  })

  test.each(["jobs_of_ours", 'Odd "name" it\'s'])("is the same in a schema named %s", async (schema) => {
    const db = await database({ migrated: false })
    await migrateUrl(db.url, { schema })
    expect(await dump(db, schema)).toBe(golden)
    expect(await db.query("select 1 from pg_namespace where nspname = 'tusk'")).toEqual([])
  })

  test("is what kysely-ctl makes with kysely.config.ts, up, down and up again", async () => {
    const db = await database({ migrated: false })
    const ctl = (...args: string[]): Promise<string> =>
      run(root, process.execPath, ["node_modules/kysely-ctl/dist/bin.mjs", ...args], { DATABASE_URL: db.url })
    await ctl("migrate:latest")
    expect(await dump(db)).toBe(golden)
    for (let n = 0; n < 3; n++) await ctl("migrate:down")
    expect(await db.query("select relname from pg_class where relnamespace = 'tusk'::regnamespace and relname !~ '^migration'")).toEqual([])
    expect(await db.query("select proname from pg_proc where pronamespace = 'tusk'::regnamespace")).toEqual([])
    await ctl("migrate:latest")
    expect(await dump(db)).toBe(golden)
  }, 120_000)

  test("shows a change", async () => {
    const db = await database()
    const before = await dump(db)
    await db.query("alter table tusk.jobs alter column priority set default 6")
    await db.query("drop index tusk.jobs_due")
    const after = new Set((await dump(db)).split("\n"))
    expect(before.split("\n").filter((line) => !after.has(line))).toEqual([
      "  priority smallint not null default 5,",
      expect.stringContaining("INDEX jobs_due"),
    ])
  })

  test("refuses what it cannot show", async () => {
    const db = await database()
    await db.query("create view tusk.counts as select count(*) from tusk.jobs")
    await expect(dump(db)).rejects.toThrow("how to show counts (kind v)")
  })
})
