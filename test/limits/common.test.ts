/** Groups that have one limit in common and not the other, in one claim. */
import { beforeEach, expect, test } from "vitest"
import { bench } from "../jobs/setup.js"

const on = bench()
const WORKER = "11111111-1111-4111-8111-111111111111"

interface Group {
  readonly concurrencyKey: string
  readonly rateKey: string
  readonly jobs: number
}

let limits: object
beforeEach(async () => {
  await on.db.query("delete from tusk.rates")
})

async function fill(groups: readonly Group[]): Promise<void> {
  await on.db.query("insert into tusk.tasks (name, queue, priority, retries, limits) values ('t', 'q', 5, 0, $1)", [JSON.stringify(limits)])
  for (const { concurrencyKey, rateKey, jobs } of groups) {
    await on.db.query(
      `insert into tusk.jobs (id, queue, task, args, concurrency_key, rate_key, limit_group)
       select gen_random_uuid(), 'q', 't', '[]', $1, $2, tusk.limit_group('t', $1, $2) from generate_series(1, $3::integer)`,
      [concurrencyKey, rateKey, jobs],
    )
  }
}

interface Claimed {
  /** How many of each pair of keys. */
  readonly taken: Readonly<Record<string, number>>
  readonly next: { complete: boolean; blocked: boolean; waitMs: number | null }
}

async function claim(most: number): Promise<Claimed> {
  const rows = await on.db.query<{ id: string | null; next: Claimed["next"] }>(
    "select id, next from tusk.claim_limited('q', $1, $2, '{t}', null, null)",
    [most, WORKER],
  )
  const taken = await on.db.query<{ pair: string; count: number }>(
    "select concurrency_key || ' ' || rate_key as pair, count(*)::integer as count from tusk.jobs where id = any ($1) group by 1 order by 1",
    [rows.flatMap(({ id }) => id ?? [])],
  )
  return { taken: Object.fromEntries(taken.map(({ pair, count }) => [pair, count])), next: rows.at(-1)!.next }
}

const sum = (taken: Readonly<Record<string, number>>): number => Object.values(taken).reduce((a, b) => a + b, 0)
const count = (n: number): number[] => Array.from({ length: n }, (_, i) => i)

test("I11: one key of concurrency in many groups, by their keys of a rate: together they get no more than its limit", async () => {
  limits = { concurrency: { limit: 4 }, rate: { limit: 100, perMs: 60_000, strategy: "sliding-window" } }
  await fill(count(7).map((i) => ({ concurrencyKey: "one", rateKey: `r${i}`, jobs: 3 })))
  const { taken, next } = await claim(14)
  expect(sum(taken)).toBe(4)
  expect(next.blocked).toBe(true)
  expect(sum((await claim(14)).taken)).toBe(0)
})

test("I11: what one of them leaves of it the others get, in the same claim", async () => {
  limits = { concurrency: { limit: 6 }, rate: { limit: 100, perMs: 60_000, strategy: "token-bucket" } }
  await fill([...count(4).map((i) => ({ concurrencyKey: "one", rateKey: `r${i}`, jobs: 1 })), { concurrencyKey: "one", rateKey: "rest", jobs: 20 }])
  const { taken } = await claim(20)
  expect(sum(taken)).toBe(6)
})

test.each(["sliding-window", "token-bucket"])("I11: one key of a rate (%s) in many groups, by their keys of concurrency", async (strategy) => {
  limits = { concurrency: { limit: 2 }, rate: { limit: 5, perMs: 60_000, strategy } }
  await fill(count(9).map((i) => ({ concurrencyKey: `c${i}`, rateKey: "one", jobs: 4 })))
  const { taken, next } = await claim(18)
  expect(sum(taken)).toBe(5)
  expect(Math.max(...Object.values(taken))).toBeLessThanOrEqual(2)
  expect(next.waitMs).toBeGreaterThan(0)
  expect(sum((await claim(18)).taken)).toBe(0)
})

test("each gets as many as the next, and what one leaves the others get, up to all slots", async () => {
  limits = { concurrency: { limit: 50 } }
  await fill([1, 2, 30, 30].map((jobs, i) => ({ concurrencyKey: `c${i}`, rateKey: "", jobs })))
  const { taken } = await claim(43)
  expect(sum(taken)).toBe(43)
  const [few, two, ...many] = ["c0 ", "c1 ", "c2 ", "c3 "].map((pair) => taken[pair]!)
  expect([few, two]).toEqual([1, 2])
  expect(Math.abs(many[0]! - many[1]!)).toBeLessThanOrEqual(1)
})

test("more groups than slots: the first ones on the circle get one each, and the next claim goes on behind them", async () => {
  limits = { concurrency: { limit: 50 } }
  await fill(count(300).map((i) => ({ concurrencyKey: `c${i}`, rateKey: "", jobs: 2 })))
  const { taken, next } = await claim(200)
  expect([sum(taken), Object.keys(taken).length, next.complete]).toEqual([200, 200, false])
})
