/** Nothing that a role, a database or an application sets changes what our statements mean, or how their answers are read. */
import pg from "pg"
import { describe, expect, test } from "vitest"
import { connect, openTusk } from "../jobs/setup.js"
import { createDatabase, type TestDatabase } from "../support/database.js"
import { round } from "./round.js"
import { EVIL_SCHEMA, FAMILIES, HARMLESS, HOSTILE, TIMEOUTS } from "./session-settings.js"

interface Setting {
  readonly name: string
  readonly vartype: string
}

/** The settings that a session can be given, as this server knows them. */
async function settingsOf(db: TestDatabase): Promise<Setting[]> {
  const client = await connect(db.url)
  // Its settings are known once it is loaded.
  await client.query("do $$ begin end $$")
  return (await client.query<Setting>("select name, vartype from pg_settings where context in ('user', 'superuser') order by name")).rows
}

/** Gives them to every session of the database from now on; those that this server does not know are left out. */
async function setAll(db: TestDatabase, values: Readonly<Record<string, string>>): Promise<string[]> {
  const known = new Set((await settingsOf(db)).map(({ name }) => name))
  const set = Object.entries(values).filter(([name]) => known.has(name))
  const client = await connect(db.url)
  for (const [name, value] of set) {
    const text = name === "search_path" || name === "DateStyle" ? value : pg.escapeLiteral(value)
    await client.query(`alter database ${pg.escapeIdentifier(db.name)} set ${name} to ${text}`)
  }
  return set.map(([name]) => name)
}

async function roundWith(values: Readonly<Record<string, string>>, pool?: (url: string) => pg.Pool): Promise<unknown> {
  const db = await createDatabase({ migrated: false })
  try {
    await db.query(EVIL_SCHEMA)
    await setAll(db, values)
    const sql = async (text: string, params?: readonly unknown[]): Promise<any[]> => {
      const client = await connect(db.url)
      return (await client.query({ text, values: params as unknown[], types: { getTypeParser: () => (value: string) => value } })).rows
    }
    return await round(openTusk({ ...(pool === undefined ? { connectionString: db.url } : { pool: pool(db.url) }), schema: "b\\'s jobs" }), sql)
  } finally {
    await db.close()
  }
}

describe("settings of the session", () => {
  let stock: unknown
  test("the round, on stock settings", async () => {
    stock = await roundWith({})
    expect(stock).toMatchObject({ limits: [1, 2, 3], flow: 7, kept: 200 })
  }, 240_000)

  test("every setting that a session can be given is in the list of these tests", async () => {
    const db = await createDatabase({ migrated: false })
    const settings = await settingsOf(db)
    await db.close()
    expect(settings.length).toBeGreaterThan(150)
    const names = new Set([...Object.keys(HOSTILE), ...Object.keys(TIMEOUTS)])
    const patterns = [...FAMILIES, ...HARMLESS].map((family) => family.names)
    const unknown = settings.map(({ name }) => name).filter((name) => !names.has(name) && !patterns.some((pattern) => pattern.test(name)))
    // A version of Postgres that brings one: look at what it does, and put it where it belongs.
    expect(unknown).toEqual([])
  })

  test("whatever is set about values, names, plans and transactions, all goes as on stock settings", async () => {
    const db = await createDatabase({ migrated: false })
    const families = Object.fromEntries(
      (await settingsOf(db)).flatMap(({ name }) => FAMILIES.filter((f) => f.names.test(name)).map((f) => [name, f.value] as const)),
    )
    await db.close()
    expect(await roundWith({ ...families, ...HOSTILE })).toEqual(stock)
  }, 240_000)

  test("sessions that the server ends when they are idle, and limits of time", async () => {
    expect(await roundWith(TIMEOUTS)).toEqual(stock)
  }, 240_000)

  test("the application's parsers, defaults and prototypes are for its own statements", async () => {
    const used = (): never => {
      throw new Error("a parser of the application's was used")
    }
    const overrides = { getTypeParser: () => used }
    const { parseInt8, parseInputDatesAsUTC, binary } = pg.defaults
    // The names of all types that a driver knows a parser for, text apart, which says itself.
    const oids = Object.values(pg.types.builtins).filter((oid): oid is number => typeof oid === "number" && oid !== pg.types.builtins.TEXT)
    const before = new Map(oids.map((oid) => [oid, pg.types.getTypeParser(oid as any, "text")]))
    const pools: pg.Pool[] = []
    try {
      for (const oid of [...oids, 1000, 1005, 1007, 1009, 1016, 2951]) pg.types.setTypeParser(oid as any, used)
      Object.assign(pg.defaults, { parseInt8: true, parseInputDatesAsUTC: true, binary: true })
      for (const type of [Date, Array, Object]) {
        Object.defineProperty(type.prototype, "toPostgres", {
          value: () => "the application's",
          configurable: true,
          enumerable: false,
          writable: true,
        })
      }
      const outcome = await roundWith({}, (url) => {
        const pool = new pg.Pool({ connectionString: url, types: overrides } as pg.PoolConfig)
        pool.on("error", () => {})
        pools.push(pool)
        return pool
      })
      expect(outcome).toEqual(stock)
    } finally {
      for (const pool of pools) await pool.end()
      for (const type of [Date, Array, Object]) Reflect.deleteProperty(type.prototype, "toPostgres")
      Object.assign(pg.defaults, { parseInt8, parseInputDatesAsUTC, binary })
      for (const [oid, parser] of before) pg.types.setTypeParser(oid as any, parser as any)
    }
  }, 240_000)
})
