import pg from "pg"
import { expect, test } from "vitest"
import { statementTexts } from "../../src/postgres/statements/sql.js"
import { ground } from "../worker/ground.js"

const g = ground()
const BATCH = 20
const claim = statementTexts.claim.replaceAll("{schema}", '"tusk"')

/** Pages that a claim of a batch touches: the fewer of two, since one may find its plan outdated and read the catalog for another. */
async function pages(queue: string, cursor: number): Promise<number> {
  return Math.min(await claimed(queue, cursor), await claimed(queue, cursor))
}

async function claimed(queue: string, cursor: number): Promise<number> {
  const [row] = await g.db.query(`explain (analyze, buffers, format json) ${claim}`, [queue, [5], [cursor], BATCH, crypto.randomUUID(), ["nobody"]])
  const { Plan } = row["QUERY PLAN"][0]
  expect(Plan["Actual Rows"]).toBe(BATCH)
  return Plan["Shared Hit Blocks"] + Plan["Shared Read Blocks"]
}

async function fill(queue: string, n: number): Promise<void> {
  await g.db.query("insert into tusk.jobs (id, queue, task, args) select gen_random_uuid(), $1, 'nobody', '[]' from generate_series(1, $2::int)", [
    queue,
    n,
  ])
}

async function cursorOf(queue: string): Promise<number> {
  const [row] = await g.db.query("select min(seq) as seq from tusk.jobs where queue = $1 and state = 'waiting'", [queue])
  return Number(row.seq) - 1
}

test("I10: a claim costs the same with a thousand or a hundred thousand waiting or finished, and with dead rows below its cursor", async () => {
  const queue = g.name("q")
  await fill(queue, 1_000)
  await pages(queue, await cursorOf(queue))
  const few = await pages(queue, await cursorOf(queue))
  const limit = few * 1.5 + 40

  await fill(queue, 100_000)
  await g.db.query(
    `insert into tusk.finished_jobs (id, created_at, attempt, max_attempts, crashes, drop_on, state, priority, queue, task, args)
     select gen_random_uuid(), now(), 1, 1, 0, now()::date + 1, 'completed', 5, $1, 'nobody', '[]' from generate_series(1, 100000)`,
    [queue],
  )
  expect(await pages(queue, await cursorOf(queue))).toBeLessThanOrEqual(limit)

  // Fifty thousand die below the cursor, under a snapshot that keeps their entries from being cleaned.
  const snapshot = new pg.Client({ connectionString: g.db.url })
  await snapshot.connect()
  try {
    await snapshot.query("begin isolation level repeatable read")
    await snapshot.query("select 1 from tusk.jobs limit 1")
    await g.db.query(
      "delete from tusk.jobs where ctid = any (array(select ctid from tusk.jobs where queue = $1 and state = 'waiting' order by seq limit 50000))",
      [queue],
    )
    expect(await pages(queue, await cursorOf(queue))).toBeLessThanOrEqual(limit)
    // Without the cursor it walks them all: the measure can tell.
    expect(await pages(queue, 0)).toBeGreaterThan(limit * 2)
  } finally {
    await snapshot.end()
  }
}, 60_000)
