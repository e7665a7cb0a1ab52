import { drizzle as drizzleOnMysql } from "drizzle-orm/mysql-proxy"
import { drizzle as drizzleOnPg } from "drizzle-orm/node-postgres"
import { drizzle as drizzleOnSqlite } from "drizzle-orm/sqlite-proxy"
import knexFactory from "knex"
import pg from "pg"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { InvalidOptionError } from "../../src/api/errors.js"
import { executorFor } from "../../src/postgres/transactions/transaction.js"
import { createDatabase, type TestDatabase } from "../support/database.js"
import { openKysely } from "./transaction-clients/kysely.js"
import { openMikroOrm } from "./transaction-clients/mikro-orm.js"
import { openTypeorm } from "./transaction-clients/typeorm.js"

let db: TestDatabase
beforeAll(async () => {
  db = await createDatabase({ migrated: false })
})
afterAll(() => db.close())

function refusal(tx: unknown): string {
  try {
    executorFor(tx)
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidOptionError)
    expect((error as InvalidOptionError).code).toBe("INVALID_OPTION")
    return (error as Error).message
  }
  throw new Error("It was accepted")
}

describe("what is no client", () => {
  class Session {
    readonly sessionId = 1
    readonly password = "hunter2"
    commit(): void {}
  }
  class Hidden {
    #secret = "hunter2"
    begin(): string {
      return this.#secret
    }
  }
  const unshowable = new Proxy(
    {},
    {
      ownKeys: () => {
        throw new TypeError("no keys")
      },
    },
  )

  test.each([
    ["undefined", undefined, "tx: undefined was given"],
    ["null", null, "tx: null was given"],
    ["a number", 7, "tx: 7 was given"],
    ["a connection string", "postgres://u:hunter2@host/db", "tx: a string was given"],
    ["an array", [1], "tx: an array was given"],
    ["an empty object", {}, "tx: an object without keys was given"],
    ["an object", { begin: 1, end: 2 }, "tx: an object with the keys begin, end was given"],
    ["an object without a prototype", Object.create(null), "tx: an object without keys was given"],
    ["many keys", Object.fromEntries(Array.from("abcdefghij", (key) => [key, 1])), "with the keys a, b, c, d, e, f, g, h, … was given"],
    ["an instance", new Session(), "tx: an instance of Session with the keys sessionId, password was given"],
    ["an instance without fields", new Hidden(), "tx: an instance of Hidden with the keys begin was given"],
    ["a function", function enqueue() {}, "tx: the function enqueue without keys was given"],
    ["an arrow function", () => {}, "was given"],
    ["a promise", Promise.resolve(), "tx: a promise (await it first) was given"],
    ["a proxy that hides its keys", unshowable, "tx: an object that does not show its keys was given"],
  ])("%s is named, without its values", (_, tx, says) => {
    const message = refusal(tx)
    expect(message).toContain(says)
    expect(message).not.toContain("hunter2")
    for (const name of ["pg (Client, PoolClient)", "Kysely", "Drizzle", "postgres.js", "Knex", "Prisma", "TypeORM", "MikroORM"])
      expect(message).toContain(name)
  })

  test("a query() that answers in another form is refused when it answers", async () => {
    for (const answer of [[[{ n: 1 }], []], { recordset: [] }, undefined, "done"]) {
      const outcome = executorFor({ query: async () => answer }).query("select 1 as n", [])
      await expect(outcome).rejects.toThrow(InvalidOptionError)
      await expect(outcome).rejects.toThrow("tx: the object given has a query() method, but what it returns is not { rows: [...] }")
    }
  })
})

describe("what is not a transaction, or none on Postgres", () => {
  test("a pool of pg", async () => {
    const pool = new pg.Pool({ connectionString: db.url })
    expect(refusal(pool)).toMatch(/^tx: a pg\.Pool was given.*check out a client with pool\.connect\(\).*Drizzle or Kysely$/)
    await pool.end()
  })

  test("a transaction of Kysely or Knex that is not begun", async () => {
    const kysely = openKysely(db.url)
    expect(refusal(kysely.transaction())).toContain("an instance of TransactionBuilder with the keys setAccessMode, setIsolationLevel, execute")
    await kysely.destroy()
    const knex = knexFactory({ client: "pg", connection: db.url })
    const begun = knex.transaction()
    expect(refusal(begun)).toContain("a promise (await it first)")
    await (await begun).rollback()
    await knex.destroy()
  })

  test("TypeORM's DataSource, and its manager outside of a transaction", async () => {
    const source = await openTypeorm(db.url)
    expect(refusal(source)).toMatch(/^tx: a TypeORM DataSource was given.*dataSource\.transaction\(async \(manager\) => …\)/)
    expect(refusal(source.manager)).toMatch(/^tx: a TypeORM EntityManager outside of a transaction was given/)
    const runner = source.createQueryRunner()
    await expect(executorFor(runner).query("select 1 as n", [])).rejects.toThrow(/^tx: the TypeORM QueryRunner given has no open transaction/)
    await runner.release()
    await expect(executorFor(runner).query("select 1 as n", [])).rejects.toThrow(/^tx: the TypeORM QueryRunner given has already been committed/)
    await source.destroy()
  })

  test("MikroORM itself, and an EntityManager outside of a transaction", async () => {
    const orm = await openMikroOrm(db.url)
    expect(refusal(orm)).toContain("an instance of MikroORM with the keys")
    expect(refusal(orm.em.fork())).toMatch(/^tx: the MikroORM EntityManager given has no open transaction.*em\.transactional\(async \(em\) => …\)/)
    await orm.close(true)
  })

  test("other databases", async () => {
    expect(refusal(drizzleOnMysql(async () => ({ rows: [] })))).toContain("tx: Drizzle with its MySqlDialect was given; the jobs live in Postgres")
    expect(refusal(drizzleOnSqlite(async () => ({ rows: [] })))).toMatch(/tx: Drizzle with its SQLite\w*Dialect was given; the jobs live in Postgres/)
    expect(refusal(knexFactory({ client: "mysql" }))).toContain("tx: Knex on mysql was given; the jobs live in Postgres")
    const source = await openTypeorm(db.url)
    const runner = source.createQueryRunner()
    Object.defineProperty(runner, "dataSource", { value: { options: { type: "mysql" } } })
    expect(refusal(runner)).toContain("tx: TypeORM on mysql was given; the jobs live in Postgres")
    await source.destroy()
  })
})

describe("connections that are gone", () => {
  const ended = /^tx: the .* has already been committed or rolled back, or its connection was closed/

  test("a closed client of pg", async () => {
    const client = new pg.Client(db.url)
    await client.connect()
    await client.end()
    const error: Error = await executorFor(client)
      .query("select 1 as n", [])
      .then(
        () => expect.unreachable(),
        (e) => e,
      )
    expect(error).toBeInstanceOf(InvalidOptionError)
    expect(error.message).toMatch(ended)
    expect((error.cause as Error).message).toBe("Client was closed and is not queryable")
  })

  test("Drizzle over a closed client", async () => {
    const client = new pg.Client(db.url)
    await client.connect()
    const drizzle = drizzleOnPg(client)
    await client.end()
    await expect(executorFor(drizzle).query("select 1 as n", [])).rejects.toThrow(ended)
  })
})
