/** Connections for transactional handlers: so many at once, the rest wait. */
import pg from "pg"
import { afterAll, beforeAll, expect, test } from "vitest"
import { quietLogger } from "../../src/api/logger.js"
import { Connector } from "../../src/postgres/run/connector.js"
import { Runner } from "../../src/postgres/run/pool.js"
import { schemaNames } from "../../src/postgres/statements/names.js"
import { statementsFor } from "../../src/postgres/statements/statements.js"
import { JobTransactions } from "../../src/worker/run/job-transactions.js"
import { createDatabase, type TestDatabase } from "../support/database.js"
import { waitFor } from "../support/wait.js"

let db: TestDatabase
let pool: pg.Pool
let transactions: JobTransactions

beforeAll(async () => {
  db = await createDatabase()
  pool = new pg.Pool({ connectionString: db.url, max: 1 })
  transactions = new JobTransactions({
    connector: Connector.to(db.url),
    runner: new Runner(pool, "here"),
    statements: statementsFor(schemaNames("tusk"), true),
    logger: quietLogger,
    most: 2,
    answerMs: 30_000,
  })
})
afterAll(async () => {
  await transactions.close()
  await pool.end()
  await db.close()
})

const pidOf = async (transaction: { tx: { query<T>(sql: string): Promise<{ rows: T[] }> } }): Promise<number> =>
  (await transaction.tx.query<{ pid: number }>("select pg_backend_pid() as pid")).rows[0]!.pid
const backends = async (): Promise<number> =>
  (await db.query("select 1 from pg_stat_activity where datname = current_database() and application_name = 'pgtusk transactions'")).length

test("what waits gets its turn in order, on a connection that is free again", async () => {
  const order: number[] = []
  const begin = async (n: number) => {
    const transaction = await transactions.begin(`job ${n}`)
    order.push(n)
    return transaction
  }
  const [first, second] = await Promise.all([begin(1), begin(2)])
  const third = begin(3)
  const fourth = begin(4)
  expect(await backends()).toBe(2)
  const pid = await pidOf(second!)
  expect([...order].sort()).toEqual([1, 2])
  second!.abandon()
  expect(await pidOf(await third)).toBe(pid)
  expect(order.slice(2)).toEqual([3])
  first!.abandon()
  ;(await third).abandon()
  ;(await fourth).abandon()
  expect(order.slice(2)).toEqual([3, 4])
  expect(await backends()).toBe(2)
})

test("a connection that died makes room for a new one", async () => {
  const first = await transactions.begin("one")
  const pid = await pidOf(first)
  await db.query("select pg_terminate_backend($1)", [pid])
  await waitFor(async () => (await db.query("select 1 from pg_stat_activity where pid = $1", [pid])).length === 0)
  first.abandon()
  const rest = await Promise.all([transactions.begin("two"), transactions.begin("three")])
  const pids = await Promise.all(rest.map(pidOf))
  expect(pids).not.toContain(pid)
  for (const transaction of rest) transaction.abandon()
})

test("abandoned twice is abandoned once", async () => {
  const one = await transactions.begin("one")
  one.abandon()
  one.abandon()
  const both = await Promise.all([transactions.begin("two"), transactions.begin("three")])
  let fourth = false
  const waiting = transactions.begin("four").then((transaction) => {
    fourth = true
    return transaction
  })
  await Promise.all(both.map(pidOf))
  expect(fourth).toBe(false)
  for (const transaction of both) transaction.abandon()
  ;(await waiting).abandon()
})
