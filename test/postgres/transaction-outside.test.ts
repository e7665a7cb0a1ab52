/** Clients that are in no transaction, or in one that their owner begins by hand. */
import { drizzle as drizzleOnPg } from "drizzle-orm/node-postgres"
import { drizzle as drizzleOnPostgresJs } from "drizzle-orm/postgres-js"
import knexFactory from "knex"
import pg from "pg"
import postgres from "postgres"
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest"
import { executorFor } from "../../src/postgres/transactions/transaction.js"
import { createDatabase, type TestDatabase } from "../support/database.js"
import { openKysely } from "./transaction-clients/kysely.js"
import { prismaShape } from "./transaction-clients/prisma-shape.js"

const ADD = "insert into notes (body) values ($1::text) returning body"

let db: TestDatabase
beforeAll(async () => {
  db = await createDatabase({ migrated: false })
  await db.query("create table notes (id serial primary key, body text not null)")
})
afterAll(() => db.close())
beforeEach(() => db.query("truncate notes"))
const notes = async (): Promise<string[]> => (await db.query<{ body: string }>("select body from notes order by id")).map((row) => row.body)

async function pgClient(): Promise<pg.Client> {
  const client = new pg.Client(db.url)
  await client.connect()
  return client
}

test.each<[string, () => Promise<{ client: unknown; close(): Promise<unknown> }>]>([
  ["a pg client", () => pgClient().then((client) => ({ client, close: () => client.end() }))],
  ["a Kysely instance", async () => ((client) => ({ client, close: () => client.destroy() }))(openKysely(db.url))],
  [
    "Drizzle over a pool",
    async () => ((pool) => ({ client: drizzleOnPg(pool), close: () => pool.end() }))(new pg.Pool({ connectionString: db.url })),
  ],
  ["Drizzle over a pg client", () => pgClient().then((client) => ({ client: drizzleOnPg(client), close: () => client.end() }))],
  ["Drizzle over postgres.js", async () => ((sql) => ({ client: drizzleOnPostgresJs(sql), close: () => sql.end() }))(postgres(db.url))],
  ["postgres.js", async () => ((client) => ({ client, close: () => client.end() }))(postgres(db.url))],
  [
    "Knex",
    async () =>
      ((client) => ({ client, close: () => client.destroy() }))(knexFactory({ client: "pg", connection: db.url, pool: { min: 0, max: 1 } })),
  ],
  ["Prisma (by shape)", async () => ((client) => ({ client, close: () => client.$disconnect() }))(prismaShape(db.url))],
])("%s outside of a transaction writes at once", async (_, open) => {
  const { client, close } = await open()
  // Twice: a connection that was not given back would be missed here.
  for (const body of ["first", "second"]) expect((await executorFor(client).query(ADD, [body])).rows).toEqual([{ body }])
  expect(await notes()).toEqual(["first", "second"])
  await close()
})

test("begin and rollback by hand hold for a pg client, Drizzle over it, and a connection reserved from postgres.js", async () => {
  const client = await pgClient()
  await client.query("begin")
  await executorFor(client).query(ADD, ["bare"])
  await executorFor(drizzleOnPg(client)).query(ADD, ["drizzle"])
  await client.query("rollback")
  await client.end()

  const sql = postgres(db.url, { max: 2 })
  const reserved = await sql.reserve()
  await reserved`begin`
  await executorFor(reserved).query(ADD, ["reserved"])
  await reserved`rollback`
  reserved.release()
  await sql.end()
  expect(await notes()).toEqual([])
})

test("postgres.js is asked once an executor whether the transaction is open, and executors may overlap", async () => {
  const sent: string[] = []
  const sql = postgres(db.url, { max: 1, debug: (_connection, query) => sent.push(query) })
  await sql.begin(async (tx) => {
    const executor = executorFor(tx)
    await executor.query(ADD, ["a"])
    await executor.query(ADD, ["b"])
    expect(sent.filter((query) => query.includes("pgtusk_probe"))).toHaveLength(1)
    await Promise.all(["c", "d", "e"].map((body) => executorFor(tx).query(ADD, [body])))
    expect(sent.filter((query) => query.includes("pgtusk_probe"))).toHaveLength(4)
  })
  expect((await notes()).sort()).toEqual(["a", "b", "c", "d", "e"])
  await sql.end()
})

test("a transaction that already failed keeps the database's own error", async () => {
  const client = await pgClient()
  const drizzle = drizzleOnPg(client)
  const failed = drizzle.transaction(async (tx) => {
    await expect(executorFor(tx).query("select 1 / 0 as n", [])).rejects.toMatchObject({ cause: { code: "22012" } })
    await expect(executorFor(tx).query(ADD, ["x"])).rejects.toMatchObject({ cause: { code: "25P02" } })
    throw new Error("enough")
  })
  await expect(failed).rejects.toThrow("enough")
  await client.end()

  const sql = postgres(db.url, { max: 1 })
  const also = sql.begin(async (tx) => {
    await expect(executorFor(tx).query("select 1 / 0 as n", [])).rejects.toMatchObject({ code: "22012" })
    await expect(executorFor(tx).query(ADD, ["x"])).rejects.toMatchObject({ code: "25P02" })
    throw new Error("enough")
  })
  await expect(also).rejects.toThrow(/division by zero|enough/)
  await sql.end()
})
