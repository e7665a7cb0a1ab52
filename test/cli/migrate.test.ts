import { execFile } from "node:child_process"
import { promisify } from "node:util"
import pg from "pg"
import { describe, expect, onTestFinished, test } from "vitest"
import { createDatabase, serverUrl, type TestDatabase } from "../support/database.js"
import { cli, fixture, STACK, startCli } from "./run.js"

const LIMIT = 120_000
const run = promisify(execFile)

async function emptyDatabase(): Promise<TestDatabase> {
  const db = await createDatabase({ migrated: false })
  onTestFinished(() => db.close())
  return db
}

/** Everything in the schema that a worker could stumble over, as text. */
async function contents(db: TestDatabase, schema: string): Promise<unknown> {
  const [columns, indexes, functions, migrations] = await Promise.all([
    db.query(
      "select table_name, column_name, data_type, column_default, is_nullable from information_schema.columns where table_schema = $1 order by 1, 2",
      [schema],
    ),
    db.query("select indexdef from pg_indexes where schemaname = $1 and tablename !~ '\\d{8}' order by 1", [schema]),
    db.query("select pg_get_functiondef(p.oid) as def from pg_proc p join pg_namespace n on n.oid = pronamespace where nspname = $1 order by 1", [
      schema,
    ]),
    db.query(`select name from ${pg.escapeIdentifier(schema)}.migration order by 1`),
  ])
  return { columns: columns.filter((c) => !/\d{8}/.test(c.table_name)), indexes, functions, migrations }
}

async function hasPsql(): Promise<boolean> {
  return run("psql", ["--version"]).then(
    () => true,
    () => false,
  )
}

describe("pgtusk migrate", () => {
  test("makes the schema, says what it applied, and then finds nothing to do", { timeout: LIMIT }, async () => {
    const db = await emptyDatabase()
    const first = await cli(["migrate"], { DATABASE_URL: db.url })
    expect(first).toMatchObject({ code: 0, stdout: expect.stringMatching(/^0001_tables\n0002_functions\n0003_servers/) })
    expect(first.stderr).toMatch(/Applied \d+ migrations: schema "tusk" of .* is up to date\./)
    const second = await cli(["migrate", "--url", db.url])
    expect(second).toMatchObject({ code: 0, stdout: "", stderr: expect.stringMatching(/^Nothing to do: schema "tusk"/) })
  })

  test("the printed SQL makes the same schema, under any name, with any loader, and workers run on it", { timeout: LIMIT }, async () => {
    const schema = `my "jobs"`
    const { stdout: sql, code } = await cli(["migrate", "--sql", "--schema", schema])
    expect(code).toBe(0)
    const migrated = await emptyDatabase()
    await cli(["migrate", "--url", migrated.url, "--schema", schema])
    const expected = await contents(migrated, schema)
    expect(expected).toMatchObject({ migrations: [{ name: "0001_tables" }, { name: "0002_functions" }, { name: "0003_servers" }] })

    const loaders: ((url: string) => Promise<unknown>)[] = [
      async (url) => {
        const client = new pg.Client({ connectionString: url })
        await client.connect()
        // As one string, as most migration tools send a file.
        await client.query(sql).finally(() => client.end())
      },
    ]
    if (await hasPsql()) {
      loaders.push((url) => {
        const psql = run("psql", ["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", url])
        psql.child.stdin!.end(sql)
        return psql
      })
    }
    for (const load of loaders) {
      const db = await emptyDatabase()
      await load(db.url)
      expect(await contents(db, schema)).toEqual(expected)
      const after = await cli(["migrate", "--url", db.url, "--schema", schema])
      expect(after).toMatchObject({ code: 0, stdout: "", stderr: expect.stringContaining("Nothing to do") })
      const worker = startCli(["worker", fixture("mail"), "--url", db.url, "--schema", schema])
      expect((await cli(["enqueue", "mail.send", '["a@b.c"]', "-o", '{"queue":"mail"}', "--url", db.url, "--schema", schema])).code).toBe(0)
      await worker.line("sent to a@b.c", 60_000)
      worker.kill("SIGTERM")
      expect(await worker.exit).toEqual({ code: 0, signal: null })
    }
  })

  test("--from leaves out what was applied before", { timeout: LIMIT }, async () => {
    const db = await emptyDatabase()
    const [whole, rest, none, tooFar, lonely] = await Promise.all([
      cli(["migrate", "--sql"]),
      cli(["migrate", "--sql", "--from", "1"]),
      cli(["migrate", "--sql", "--from", "3"]),
      cli(["migrate", "--sql", "--from", "4"]),
      cli(["migrate", "--from", "1"]),
    ])
    expect(rest.stdout).not.toContain("0001_tables")
    expect(rest.stdout).toContain("-- 0002_functions")
    expect(none.stdout).toBe("-- 0003_servers is the last migration of this version; nothing comes after it.")
    expect(tooFar).toMatchObject({
      code: 1,
      stdout: "",
      stderr: "error: --from is 4, and the last migration of this version is 3 (0003_servers)\n",
    })
    expect(lonely).toMatchObject({ code: 1, stderr: expect.stringContaining("--from belongs to --sql") })
    // In two steps it comes to the same.
    const begin = whole.stdout.slice(0, whole.stdout.indexOf("-- 0002_functions"))
    await db.query(`${begin}; commit;`)
    await db.query(rest.stdout)
    expect(await cli(["migrate"], { DATABASE_URL: db.url })).toMatchObject({ code: 0, stdout: "" })
  })

  test("says in one sentence what is wrong, and ends with 1", { timeout: LIMIT }, async () => {
    const db = await emptyDatabase()
    const role = `norights_${db.name}`
    await db.query(`create role "${role}" login password 'right'`)
    onTestFinished(async () => {
      const admin = new pg.Client({ connectionString: serverUrl() })
      await admin.connect()
      await admin.query(`drop role "${role}"`).finally(() => admin.end())
    })
    const as = (change: (url: URL) => void): string => {
      const url = new URL(db.url)
      change(url)
      return url.href
    }
    const cases: [string | undefined, RegExp][] = [
      [undefined, /^error: pgtusk does not know your database: write --url .* set DATABASE_URL/],
      ["nonsense", /^error: --url is "nonsense", which is no URL; write "postgres:/],
      [as((url) => (url.protocol = "mysql:")), /^error: --url begins with "mysql:/],
      ["postgres://u:secret@127.0.0.1:1/x", /^error: No Postgres answers at 127\.0\.0\.1:1\/x \(ECONNREFUSED\)/],
      [as((url) => (url.pathname = "/nowhere")), /^error: .*no such database.*nowhere/],
      [as((url) => ([url.username, url.password] = [role, "right"])), /^error: The user of .* lacks a right/],
    ]
    const outcomes = await Promise.all(cases.map(([url]) => cli(url === undefined ? ["migrate"] : ["migrate", "--url", url])))
    for (const [i, [, message]] of cases.entries()) {
      expect(outcomes[i]).toMatchObject({ code: 1, stdout: "", stderr: expect.stringMatching(message) })
      expect(outcomes[i]!.stderr).not.toMatch(STACK)
      expect(outcomes[i]!.stderr).not.toContain("secret")
    }
    const verbose = await cli(["migrate", "--verbose", "--url", "postgres://u:secret@127.0.0.1:1/x"])
    expect(verbose).toMatchObject({ code: 1, stderr: expect.stringMatching(STACK) })
    expect(verbose.stderr).not.toContain("secret")
  })
})
