/** A primary dies under load and its synchronous standby takes over: clients and workers that know both hosts follow. */
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { ConnectionError } from "../../src/api/errors.js"
import { Tusk, task } from "../../src/index.js"
import { bench, rejection } from "../jobs/setup.js"
import { waitFor } from "../support/wait.js"
import { type Pair, startPair } from "./pair.js"

const on = bench()
const QUEUE = "failover"
const silent = { debug() {}, info() {}, warn() {}, error() {} }
/** When each job's run began. */
const runs = new Map<number, number[]>()
const plain = task({ name: "failover.plain", queue: QUEUE }, async (n: number) => {
  runs.set(n, [...(runs.get(n) ?? []), performance.now()])
  return n
})
let paid = ""
const pay = task({ name: "failover.pay", queue: QUEUE, transactional: true }, async (n: number) => {
  await tx(n)
})
const tx = async (n: number): Promise<void> => {
  const { currentJob } = await import("../../src/index.js")
  await currentJob().tx!.query(`insert into ${paid} values ($1)`, [n])
}

let pair: Pair
const open: Tusk[] = []
const client = (connectionString: string | string[]): Tusk => {
  const tusk = new Tusk({ connectionString, signals: false, logger: silent })
  open.push(tusk)
  return tusk
}

beforeAll(async () => {
  pair = await startPair()
}, 120_000)
afterAll(async () => {
  await Promise.all(open.map((tusk) => tusk.close()))
  await pair?.stop()
}, 60_000)

describe("a standby", () => {
  test("alone is refused by every use, with what it means", { timeout: 60_000 }, async () => {
    const tusk = client(pair.standby)
    for (const use of [() => tusk.work({ queues: [QUEUE] }), () => tusk.migrate(), () => tusk.workers()]) {
      const error = await rejection(use())
      expect(error).toBeInstanceOf(ConnectionError)
      expect(error).toMatchObject({ unknown: false, cause: { code: "25006" } })
      expect(error.message).toMatch(
        /takes no writes: the server is a standby \(it is in recovery\).*connect to the primary, or give the hosts of all servers/,
      )
    }
  })

  test("among several hosts is passed over, in whatever form they are given", { timeout: 60_000 }, async () => {
    const [a, b] = [new URL(pair.primary), new URL(pair.standby)]
    const both = pair.standby.replace(b.host, `${b.host},${a.host}`)
    for (const given of [[pair.standby, pair.primary], both, `${both}&target_session_attrs=read-write`, `${both}&target_session_attrs=primary`]) {
      const tusk = client(given)
      expect((await tusk.migrate()).applied).toEqual([])
      expect((await plain.with({ via: tusk, delay: "1h" }).enqueue(-1)).created).toBe(true)
    }
    const nowhere = client([pair.standby, pair.standby.replace(b.host, "127.0.0.1:1")])
    const error = await rejection(nowhere.workers())
    expect(error.message).toMatch(/^None of the servers .* takes writes: .*is a standby.*; .*ECONNREFUSED/)
  })
})

describe("a connection that says it is read-only", () => {
  test("is dropped at once: the next one is asked, and the enqueue goes through", { timeout: 60_000 }, async () => {
    await on.db.query(`alter database "${on.db.name}" set default_transaction_read_only = on`)
    const tusk = client(on.db.url)
    let settled = false
    const job = plain.with({ via: tusk }).enqueue(-2)
    void job
      .finally(() => {
        settled = true
      })
      .catch(() => undefined)
    const pids = new Set<number>()
    await waitFor(async () => {
      for (const { pid } of await on.db.query<{ pid: number }>(
        "select pid from pg_stat_activity where datname = current_database() and application_name = 'pgtusk client'",
      ))
        pids.add(pid)
      return pids.size > 1
    })
    expect(settled).toBe(false)
    await on.db.query(`begin read write; alter database "${on.db.name}" reset default_transaction_read_only; commit`)
    expect((await job).created).toBe(true)
  })
})

test("what was confirmed on a synchronous standby is kept, and nothing that is done is done again", { timeout: 120_000 }, async () => {
  paid = "public.paid"
  await pair.query(pair.primary, `create table if not exists ${paid} (n int)`)
  const both = [pair.primary, pair.standby]
  const producer = client(both)
  const worker = await client(both).work({ queues: { [QUEUE]: 10 }, lease: "10s" } as never)
  const confirmed = new Set<number>()
  const refused: unknown[] = []
  let n = 0
  let producing = true
  let last = performance.now()
  let gap = 0
  const produce = async (): Promise<void> => {
    while (producing) {
      const mine = ++n
      try {
        await (mine % 3 === 0 ? pay : plain).with({ via: producer }).enqueue(mine)
        confirmed.add(mine)
        const now = performance.now()
        gap = Math.max(gap, now - last)
        last = now
      } catch (error) {
        refused.push(error)
      }
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
  const producers = [1, 2, 3, 4].map(produce)
  await waitFor(() => confirmed.size >= 300, { timeout: 30_000, what: "a steady load" })
  const before = confirmed.size
  const killed = performance.now()
  await pair.killPrimary()
  await pair.promote()
  const promoted = performance.now()
  await waitFor(() => confirmed.size >= before + 300, { timeout: 40_000, what: "the load to go on" })
  producing = false
  await Promise.all(producers)
  const done = async (): Promise<boolean> => {
    const [row] = await pair.query<{ left: number }>(
      pair.standby,
      `select count(*)::int as left from tusk.jobs where queue = '${QUEUE}' and state <> 'delayed'`,
    )
    return row!.left === 0
  }
  await waitFor(done, { timeout: 40_000, what: "all jobs to be done" })
  const paidRows = await pair.query<{ n: number; times: number }>(pair.standby, `select n, count(*)::int as times from ${paid} group by n`)
  const paidTimes = new Map(paidRows.map((row) => [row.n, row.times]))
  const lost = [...confirmed].filter((one) => (one % 3 === 0 ? !paidTimes.has(one) : !runs.has(one)))
  const twice = [...runs].filter(([one, times]) => one > 0 && times.length > 1)
  process.stdout.write(
    `failover: ${confirmed.size} confirmed, ${refused.length} refused, ${lost.length} lost, ${twice.length} begun twice, ` +
      `promoted after ${Math.round(promoted - killed)} ms, longest time without a confirmed enqueue ${Math.round(gap)} ms\n`,
  )
  expect(lost).toEqual([])
  // A transactional handler's effects happen once.
  expect(paidRows.filter((row) => row.times !== 1)).toEqual([])
  // An ordinary handler runs again only where its outcome was not recorded when the primary died, and never a third time.
  for (const [, times] of twice) {
    expect(times).toHaveLength(2)
    expect(times[0]).toBeLessThan(promoted)
  }
  for (const error of refused) expect(error).toBeInstanceOf(ConnectionError)
  // LISTEN has followed too, or will within its pause.
  const job = await plain.with({ via: producer }).enqueue(n + 1)
  expect(await job.result({ timeout: "20s" })).toBe(n + 1)
  await worker.drain()
})
