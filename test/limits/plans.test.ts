/** What claims cost where limits hold, and where none do. */
import pg from "pg"
import { afterAll, beforeAll, expect, test } from "vitest"
import { statementTexts } from "../../src/postgres/statements/sql.js"
import { ground } from "../worker/ground.js"

const on = ground()
let client: pg.Client

beforeAll(async () => {
  client = new pg.Client({ connectionString: on.db.url })
  client.on("error", () => {})
  await client.connect()
  // Pages are counted: vacuum in between would have the next claim planned anew, and spread its row versions over all pages with a little room.
  await client.query("alter table tusk.jobs set (autovacuum_enabled = off)")
})
afterAll(() => client.end())

async function fill(queue: string, keys: number, each: number): Promise<void> {
  await client.query(
    `insert into tusk.jobs (id, queue, task, args, concurrency_key, rate_key, limit_group)
     select gen_random_uuid(), $1, 'limited', '[]', 'k' || k, 'r' || k, tusk.limit_group('limited', 'k' || k, 'r' || k) from generate_series(1, $2::int) k, generate_series(1, $3::int)`,
    [queue, keys, each],
  )
}

/** Pages and milliseconds of a claim of ten, rolled back; and that it read no table from end to end. */
async function cost(queue: string, claim: string, values: readonly unknown[], rows: number): Promise<{ pages: number; ms: number }> {
  await client.query("begin")
  const { rows: plans } = await client.query(`explain (analyze, buffers, format json) ${claim}`, [queue, ...values])
  const { rows: scans } = await client.query(
    "select seq_tup_read::int as n from pg_stat_xact_user_tables where schemaname = 'tusk' and relname = 'jobs'",
  )
  await client.query("rollback")
  const { Plan, ["Execution Time"]: ms } = plans[0]["QUERY PLAN"][0]
  expect(Plan["Actual Rows"]).toBe(rows)
  expect(scans[0].n).toBe(0)
  return { pages: Plan["Shared Hit Blocks"] + Plan["Shared Read Blocks"], ms }
}

/** The pages of the cheapest of three: one may be planned anew, which reads pages of the catalog too. */
async function fewest(claim: () => Promise<{ pages: number }>): Promise<number> {
  return Math.min((await claim()).pages, (await claim()).pages, (await claim()).pages)
}

const limitedClaim = statementTexts.claim_limited.replaceAll("{schema}", '"tusk"')
const limited = (queue: string): Promise<{ pages: number; ms: number }> =>
  cost(queue, limitedClaim, [10, crypto.randomUUID(), ["limited"], "0", "0"], 11)

test("a limited claim costs the same with a hundred or a hundred thousand waiting in one key, whatever the statistics say", async () => {
  await client.query(
    `insert into tusk.tasks (name, queue, priority, retries, limits) values ('limited', 'q', 5, 0,
     '{"concurrency": {"limit": 20}, "rate": {"limit": 1000, "perMs": 1000, "strategy": "sliding-window"}}')`,
  )
  const [few, many] = [on.name("few"), on.name("many")]
  await fill(few, 1, 100)
  const before = await fewest(() => limited(few))
  await fill(many, 1, 100_000)
  const unknown = await fewest(() => limited(many))
  await client.query("analyze tusk.jobs")
  const known = await fewest(() => limited(many))
  expect(unknown).toBeLessThanOrEqual(before * 1.5 + 40)
  expect(known).toBeLessThanOrEqual(before * 1.5 + 40)
}, 30_000)

test("with a thousand keys it looks at those that it takes from, and a full round of full keys stays cheap", async () => {
  const queue = on.name("keys")
  await fill(queue, 1_000, 3)
  await limited(queue)
  const { pages } = await limited(queue)
  expect(pages).toBeLessThan(1_000)
  // All full: one call looks at 256 of them.
  await client.query(`update tusk.tasks set limits = '{"concurrency": {"limit": 0}}'`)
  const barren = await cost(queue, limitedClaim, [10, crypto.randomUUID(), ["limited"], "0", "0"], 1)
  expect(barren.pages).toBeLessThan(256 * 12)
}, 30_000)

test("a claim without limits reads no more than alone, whatever waits under limits in the same queue", async () => {
  const queue = on.name("plain")
  await client.query("insert into tusk.jobs (id, queue, task, args) select gen_random_uuid(), $1, 'plain', '[]' from generate_series(1, 1000)", [
    queue,
  ])
  const claim = statementTexts.claim.replaceAll("{schema}", '"tusk"')
  const plain = (): Promise<{ pages: number; ms: number }> => cost(queue, claim, [[5], ["0"], 10, crypto.randomUUID(), ["plain"]], 10)
  const alone = await fewest(plain)
  await fill(queue, 10, 1_000)
  expect(await fewest(plain)).toBeLessThanOrEqual(alone + 5)
})
