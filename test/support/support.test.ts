import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { createDatabase, type TestDatabase } from "./database.js"
import { spawnScript } from "./process.js"
import { seeded } from "./seed.js"
import { deferred, waitFor } from "./wait.js"

describe("createDatabase", () => {
  let a: TestDatabase
  let b: TestDatabase
  beforeAll(async () => {
    ;[a, b] = await Promise.all([createDatabase(), createDatabase()])
  })
  afterAll(() => Promise.all([a.close(), b.close()]))

  test("databases are apart", async () => {
    await a.query("create table mine (n int)")
    await a.query("insert into mine values ($1)", [7])
    expect(await a.query("select n from mine")).toEqual([{ n: 7 }])
    await expect(b.query("select n from mine")).rejects.toThrow(/mine/)
  })

  test("databases come migrated", async () => {
    expect(await a.query("select count(*)::int as n from pg_tables where schemaname = 'tusk' and tablename = 'jobs'")).toEqual([{ n: 1 }])
  })

  test("migrated: false is empty", async () => {
    const empty = await createDatabase({ migrated: false })
    try {
      expect(await empty.query("select 1 from pg_namespace where nspname = 'tusk'")).toEqual([])
    } finally {
      await empty.close()
    }
  })

  test("close drops the database under open connections", async () => {
    const db = await createDatabase()
    await Promise.all([db.query("select pg_sleep(0)"), db.query("select 1")])
    await db.close()
    await db.close()
    expect(await a.query("select 1 from pg_database where datname = $1", [db.name])).toEqual([])
  })
})

describe("waitFor", () => {
  test("returns the value that satisfied it", async () => {
    let n = 0
    expect(await waitFor(() => ++n > 3 && { n })).toEqual({ n: 4 })
  })

  test("says what it waited for and what it saw last", async () => {
    await expect(waitFor(() => 0, { timeout: 20, what: "a number" })).rejects.toThrow("Waited 20 ms for a number (last value: 0)")
    const failing = waitFor(
      () => {
        throw new Error("no table")
      },
      { timeout: 20, what: "a row" },
    )
    await expect(failing).rejects.toThrow("Waited 20 ms for a row (last error: no table)")
  })

  test("a condition that never answers is given up too", async () => {
    await expect(waitFor(() => new Promise<boolean>(() => {}), { timeout: 20, what: "an answer" })).rejects.toThrow("for an answer")
  })
})

test("deferred", async () => {
  const d = deferred<number>()
  d.resolve(3)
  expect(await d.promise).toBe(3)
})

test("a seed gives the same values again", () => {
  const draw = (seed: number): number[] => {
    const random = seeded(seed)
    return Array.from({ length: 50 }, () => random.int(1, 6))
  }
  expect(draw(1)).toEqual(draw(1))
  expect(draw(1)).not.toEqual(draw(2))
  expect(new Set(draw(1))).toEqual(new Set([1, 2, 3, 4, 5, 6]))
})

test("spawnScript: lines, input, signals, exit", async () => {
  const dir = await mkdtemp(join(import.meta.dirname, "fixture-"))
  try {
    const file = join(dir, "echo.ts")
    await writeFile(
      file,
      `const greet = (name: string): void => console.log("hello " + name)
       greet(process.argv[2]!)
       process.stdin.on("data", (data) => greet(String(data).trim()))
       process.on("SIGTERM", () => process.exit(7))`,
    )
    const script = spawnScript(file, ["first"])
    expect(await script.line("hello")).toBe("hello first")
    script.send("second")
    expect(await script.line(/second$/)).toBe("hello second")
    script.kill("SIGTERM")
    expect(await script.exit).toEqual({ code: 7, signal: null })
    await expect(script.line("third")).rejects.toThrow(/ended \(code 7/)
  } finally {
    await rm(dir, { recursive: true })
  }
})
