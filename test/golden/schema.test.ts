import { execFile } from "node:child_process"
import { readFile } from "node:fs/promises"
import { promisify } from "node:util"
import pg from "pg"
import { afterAll, describe, expect, test } from "vitest"
import { migrationsFor } from "../../migrations/index.js"
import { migrateUrl } from "../../src/postgres/schema/migrate.js"
import { schemaNames } from "../../src/postgres/statements/names.js"
import { root } from "../package/project.js"
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

  test("is what kysely-ctl makes with kysely.config.ts, which it can list, take down and bring up", async () => {
    const db = await database({ migrated: false })
    const all = Object.keys(migrationsFor(schemaNames("tusk")))
    const applied = async (): Promise<string[]> => (await db.query("select name from tusk.migration order by name")).map(({ name }) => name)
    const ctl = async (...args: string[]): Promise<string> => {
      const { stdout, stderr } = await promisify(execFile)(
        process.execPath,
        [`${root}/node_modules/kysely-ctl/dist/bin.mjs`, ...args, "--no-outdated-check"],
        { cwd: root, env: { PATH: process.env["PATH"], HOME: process.env["HOME"], DATABASE_URL: db.url }, timeout: 60_000 },
      )
      return `${stdout}${stderr}`
    }
    const listed = await ctl("migrate:list")
    for (const name of all) expect(listed).toContain(name)
    await ctl("migrate:latest")
    expect(await dump(db)).toBe(golden)
    await ctl("migrate:down")
    expect(await applied()).toEqual(all.slice(0, -1))
    await ctl("migrate:up")
    expect(await dump(db)).toBe(golden)
    for (const _ of all) await ctl("migrate:down")
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
