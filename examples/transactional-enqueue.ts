// A job that is enqueued in a transaction exists exactly when the transaction commits: here with pg, and with Kysely.
import { Kysely, PostgresDialect } from "kysely"
import pg from "pg"
import { configure, task } from "pgtusk"

const url = process.env["DATABASE_URL"]
const tusk = configure(url === undefined ? { embedded: true } : { connectionString: url, migrate: true })
const confirm = task({ name: "orders.confirm" }, async (order: string) => `confirmed ${order}`)

const worker = await tusk.work()
const pool = new pg.Pool({ connectionString: await tusk.connectionString() })
await pool.query("create table if not exists example_orders (id text primary key)")
await pool.query("truncate example_orders")

// pg: the client on which you ran begin.
const client = await pool.connect()
await client.query("begin")
await client.query("insert into example_orders (id) values ('o-1')")
const kept = await confirm.with({ tx: client }).enqueue("o-1")
await client.query("commit")
client.release()
console.log(await kept.result({ timeout: "30s" }))

// Kysely: a transaction that fails takes its job with it.
const db = new Kysely<{ example_orders: { id: string } }>({ dialect: new PostgresDialect({ pool }) })
let lost: string | undefined
await db
  .transaction()
  .execute(async (trx) => {
    await trx.insertInto("example_orders").values({ id: "o-2" }).execute()
    lost = (await confirm.with({ tx: trx }).enqueue("o-2")).id
    throw new Error("no stock")
  })
  .catch((error: Error) => console.log(`rolled back: ${error.message}`))
const state = await tusk
  .job(lost as string)
  .state()
  .catch((error: { code: string }) => error.code)
if (state !== "UNKNOWN_JOB") throw new Error(`The job of the transaction that failed is ${state}`)

await worker.drain()
await db.destroy()
await tusk.close()
