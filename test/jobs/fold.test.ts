/** Concurrent calls of one process leave together. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest"
import { UnknownJobError } from "../../src/api/errors.js"
import { task } from "../../src/index.js"
import { sqlStateOf } from "../../src/postgres/run/sqlstate.js"
import { Tusk } from "../../src/tusk.js"
import { createDatabase, type TestDatabase } from "../support/database.js"
import { RecordingPool, rejection } from "./setup.js"

const n = task({ name: "n" }, async (i: number | string) => i)

let db: TestDatabase
let pool: RecordingPool
let tusk: Tusk
beforeAll(async () => {
  db = await createDatabase()
  pool = new RecordingPool({ connectionString: db.url, max: 5 })
  tusk = new Tusk({ pool })
})
beforeEach(async () => {
  await db.query("truncate tusk.jobs, tusk.keys, tusk.job_dependencies")
  pool.statements.length = 0
})
afterAll(async () => {
  await tusk.close()
  await pool.end()
  await db.close()
})

const count = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i)
const stored = async (): Promise<unknown[]> =>
  (await db.query<{ arg: unknown }>("select args -> 0 as arg from tusk.jobs order by seq")).map((row) => row.arg)

describe("10,000 enqueue() at once", () => {
  test("I1: all are stored, in the order of the calls, by a handful of statements", async () => {
    const view = n.with({ via: tusk })
    const jobs = await Promise.all(count(0, 10_000).map((i) => view.enqueue(i)))
    const rows = await db.query<{ id: string; i: number }>("select id, (args ->> 0)::int as i from tusk.jobs order by seq")
    expect(rows.map((row) => row.i)).toEqual(count(0, 10_000))
    expect(rows.map((row) => row.id)).toEqual(jobs.map((job) => job.id))
    expect(pool.count('tusk".jobs')).toBeLessThanOrEqual(6)
    // The wake-ups fold too.
    expect(pool.count("pg_notify")).toBeLessThanOrEqual(6)
  })

  test("very many who call again and again leave in halves by turns, in the order of their calls", async () => {
    const view = n.with({ via: tusk, wake: "poll" })
    let made = 0
    await Promise.all(
      count(0, 1_000).map(async () => {
        for (let turn = 0; turn < 5; turn++) await view.enqueue(made++)
      }),
    )
    expect(await stored()).toEqual(count(0, 5_000))
    // A statement is a transaction. While one half is on its way the other makes its next calls, so none holds more than half.
    const statements = await db.query<{ jobs: number }>("select count(*)::int as jobs from tusk.jobs group by xmin::text")
    expect(Math.max(...statements.map(({ jobs }) => jobs))).toBeLessThanOrEqual(501)
    expect(statements.length).toBeLessThanOrEqual(20)
  })

  test("calls with and without keys keep their order, and do not fall apart into a statement each", async () => {
    const plain = n.with({ via: tusk })
    await Promise.all(count(0, 2_000).map((i) => (i % 2 === 0 ? plain : plain.with({ deduplicate: `key ${i}` })).enqueue(i)))
    expect(await stored()).toEqual(count(0, 2_000))
    expect(pool.statements.length).toBeLessThanOrEqual(20)
  })

  test("a caller who waits for each call in turn gets a statement for each", async () => {
    const view = n.with({ via: tusk, wake: "poll" })
    for (const i of count(0, 20)) await view.enqueue(i)
    expect(await stored()).toEqual(count(0, 20))
    expect(pool.statements).toHaveLength(20)
  })
})

describe("a call that cannot be stored fails alone", () => {
  beforeAll(async () => {
    // What no codec can foresee: the server itself refuses some values.
    await db.query(`alter table tusk.jobs add constraint refused check (args <> '["poison"]')`)
  })

  test("neither its neighbours nor their order suffer, and finding it takes few statements", async () => {
    const view = n.with({ via: tusk })
    const poisoned = new Set([0, 1, 777, 2_999])
    const outcomes = await Promise.allSettled(count(0, 3_000).map((i) => view.enqueue(poisoned.has(i) ? "poison" : i)))
    for (const [i, outcome] of outcomes.entries()) expect(outcome.status, `call ${i}`).toBe(poisoned.has(i) ? "rejected" : "fulfilled")
    expect(sqlStateOf((outcomes[777] as PromiseRejectedResult).reason)).toBe("23514")
    expect(await stored()).toEqual(count(0, 3_000).filter((i) => !poisoned.has(i)))
    expect(pool.statements.length).toBeLessThan(200)
  })

  test("a call of many is one: all of its jobs fail, and only those", async () => {
    const view = n.with({ via: tusk })
    const outcomes = await Promise.allSettled([view.enqueue(1), view.enqueueMany([[2], ["poison"], [3]]), view.enqueueMany([[4], [5]])])
    expect(outcomes.map((outcome) => outcome.status)).toEqual(["fulfilled", "rejected", "fulfilled"])
    expect(await stored()).toEqual([1, 4, 5])
  })

  test("so it is with keys and parents", async () => {
    const view = n.with({ via: tusk })
    const unknown = "01890000-0000-7000-8000-000000000000"
    const outcomes = await Promise.allSettled([
      view.with({ id: "a" }).enqueue(1),
      view.with({ dependsOn: [unknown] }).enqueue(2),
      view.with({ deduplicate: "k" }).enqueue("poison"),
      view.with({ deduplicate: "k" }).enqueue(3),
    ])
    expect(outcomes.map((outcome) => outcome.status)).toEqual(["fulfilled", "rejected", "rejected", "fulfilled"])
    expect((outcomes[1] as PromiseRejectedResult).reason).toBeInstanceOf(UnknownJobError)
    expect(await stored()).toEqual([1, 3])
    // The key of the one that failed went to the next.
    const [owner] = await db.query("select j.args from tusk.keys k join tusk.jobs j on j.id = k.job_id where k.key = 'k'")
    expect(owner).toEqual({ args: [3] })
  })

  test("bad arguments never reach the server", async () => {
    const view = n.with({ via: tusk })
    const bad = rejection((view.enqueue as (arg: unknown) => Promise<unknown>)(() => 1))
    await Promise.all([bad, view.enqueue(1)])
    expect((await bad).code).toBe("PAYLOAD")
    expect(await stored()).toEqual([1])
  })
})
