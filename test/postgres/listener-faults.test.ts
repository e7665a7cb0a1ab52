import pg from "pg"
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest"
import { bounded } from "../../src/postgres/notify/bounded.js"
import type { ListenerOptions } from "../../src/postgres/notify/listener.js"
import { createDatabase, type TestDatabase } from "../support/database.js"
import { startPooler, type TransactionPooler } from "../support/pooler.js"
import { type FaultProxy, startProxy } from "../support/proxy.js"
import { waitFor } from "../support/wait.js"
import { Ear, notify, sessions } from "./listener-ear.js"

/** Quick enough for tests, slow enough for a loaded machine. */
const QUICK = { probeIntervalMs: 150, probeTimeoutMs: 1_000, connectTimeoutMs: 2_000, backoffMs: { min: 10, max: 100 } }

let db: TestDatabase
let proxy: FaultProxy
const ears: Ear[] = []

beforeAll(async () => {
  db = await createDatabase({ migrated: false })
})
afterAll(() => db.close())
beforeEach(async () => {
  proxy = await startProxy(db.url)
})
afterEach(async () => {
  await Promise.all(ears.splice(0).map((ear) => ear.listener.close()))
  await proxy.close()
  await waitFor(async () => (await sessions(db)).length === 0, { what: "the sessions to be gone" })
})

async function started(options: Partial<ListenerOptions> = QUICK, url = proxy.url): Promise<Ear> {
  const ear = new Ear(url, options)
  ears.push(ear)
  await ear.listener.start()
  return ear
}

async function hears(ear: Ear, payload: string): Promise<void> {
  await notify(db, "second", payload)
  await waitFor(() => ear.heard.some((heard) => heard[1] === payload), { what: `"${payload}" to be heard` })
}

describe("Listener behind a bad network", () => {
  test("comes back after an outage of more than six seconds, with stock settings", async () => {
    const ear = await started({})
    proxy.refuse()
    proxy.drop()
    const begun = performance.now()
    await waitFor(() => performance.now() - begun > 6_500, { what: "the length of the outage" })
    expect([ear.listener.live, ear.downs.length]).toEqual([false, 1])
    const attempts = ear.messages("debug").filter((message) => message.includes("ECONNREFUSED")).length
    // 100, 200, … 6,400 ms, halved at most by jitter: 6.5 s have room for six or seven, of which the first is a warning.
    expect(attempts).toBeGreaterThanOrEqual(4)
    expect(attempts).toBeLessThanOrEqual(8)
    await proxy.accept()
    await waitFor(() => ear.lives === 2, { timeout: 12_000, what: "the return" })
    expect(ear.downs).toHaveLength(1)
    await hears(ear, "after the outage")
    // One warning a cause, however many attempts.
    expect(ear.messages("warn")).toHaveLength(2)
  })

  test("wake() ends a pause", async () => {
    proxy.refuse()
    const ear = await started({ ...QUICK, backoffMs: { min: 60_000, max: 60_000 } })
    await proxy.accept()
    ear.listener.wake()
    await waitFor(() => ear.listener.live)
  })

  test("a black hole is noticed by the probe, within its interval and time-out", async () => {
    const ear = await started()
    proxy.pause()
    const begun = performance.now()
    await waitFor(() => ear.downs.length === 1, { what: "onDown" })
    const took = performance.now() - begun
    expect(took).toBeLessThan(QUICK.probeIntervalMs + QUICK.probeTimeoutMs + 2_000)
    expect(ear.listener.live).toBe(false)
    expect(ear.messages("warn")[0]).toContain("Postgres did not answer within 1000 ms (NOTIFY)")
    // Attempts into the black hole end by themselves.
    await waitFor(() => ear.messages("warn").some((message) => message.includes("within 2000 ms (the connection attempt)")))
    proxy.resume()
    await waitFor(() => ear.lives === 2, { what: "the return" })
    expect(ear.downs).toHaveLength(1)
    await hears(ear, "after the black hole")
  })

  test("a black hole at the start: start() resolves, and it is live once the way is free", async () => {
    proxy.pause()
    const ear = await started()
    expect([ear.listener.live, ear.lives, ear.downs.length]).toEqual([false, 0, 1])
    proxy.resume()
    await waitFor(() => ear.listener.live)
    expect(ear.lives).toBe(1)
  })

  test.each(["reset", "end"] as const)("a connection cut by %s is replaced", async (how) => {
    const ear = await started()
    for (const lives of [2, 3, 4]) {
      proxy.drop(how)
      await waitFor(() => ear.lives === lives, { what: `life ${lives}` })
      await hears(ear, `life ${lives}`)
    }
    expect(ear.downs).toHaveLength(3)
    await waitFor(() => proxy.connections === 1)
  })

  test("a slow network is no fault", async () => {
    proxy.delay({ toServer: 60, toClient: 90 })
    const ear = await started({ ...QUICK, probeIntervalMs: 10, probeTimeoutMs: 5_000, connectTimeoutMs: 10_000 })
    for (const payload of ["one", "two", "three", "four", "five"]) await hears(ear, payload)
    expect([ear.lives, ear.downs, ear.messages("warn")]).toEqual([1, [], []])
  })

  test("an answer that arrived while the event loop was blocked counts, though its time is over", async () => {
    const client = new pg.Client({ connectionString: db.url })
    await client.connect()
    const late = (): never => {
      throw new Error("late")
    }
    try {
      const answer = bounded(client.query("select 1 as one"), { ms: 50, late })
      blockEventLoop(1_000)
      expect((await answer).rows).toEqual([{ one: 1 }])
      await expect(bounded(client.query("select pg_sleep(60)"), { ms: 50, late })).rejects.toThrow("late")
    } finally {
      await client.end()
    }
  })
})

function blockEventLoop(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

describe("Listener behind a pooler in transaction mode", () => {
  const poolers: TransactionPooler[] = []
  afterEach(async () => {
    await Promise.all(poolers.splice(0).map((pooler) => pooler.close()))
  })

  test.each([1, 3])("which has %i server sessions: it warns once, goes on slowly, and leaves nothing behind", async (size) => {
    const pooler = await startPooler(db.url, size)
    poolers.push(pooler)
    const ear = await started({ ...QUICK, deafRetryMs: 50 }, pooler.url)
    expect([ear.listener.live, ear.lives, ear.downs.length]).toEqual([false, 0, 1])
    expect(ear.messages("warn")).toEqual([expect.stringMatching(/polling.*pooler in transaction mode; set listenConnectionString/)])
    const attempts = (level: "debug" | "warn"): number => ear.messages(level).filter((message) => message.includes("pooler")).length
    await waitFor(() => attempts("debug") >= 2, { what: "two more attempts" })
    expect([ear.lives, ear.downs.length, attempts("warn")]).toEqual([0, 1, 1])
    await ear.listener.close()
    // The server session that it used belongs to others now, and must not go on listening.
    const client = new pg.Client({ connectionString: pooler.url })
    await client.connect()
    expect((await client.query("select pg_listening_channels() as channel")).rows).toEqual([])
    await client.end()
  })

  test.each(["in query", "none"] as const)("that lets notifications through %s: the same, until it changes", async (mode) => {
    proxy.notifications = mode
    const ear = await started({ ...QUICK, deafRetryMs: 60_000 })
    const begun = performance.now()
    await waitFor(() => performance.now() - begun > 5 * QUICK.backoffMs.max, { what: "several pauses of an outage" })
    expect([ear.listener.live, ear.messages("warn").length, proxy.accepted]).toEqual([false, 1, 2])
    proxy.notifications = "all"
    ear.listener.wake()
    await waitFor(() => ear.listener.live)
    expect([ear.lives, ear.downs.length]).toEqual([1, 1])
    await hears(ear, "now")
  })

  test("a connection that goes deaf while it is live is replaced", async () => {
    const ear = await started()
    proxy.notifications = "none"
    await waitFor(() => ear.downs.length === 1)
    proxy.notifications = "all"
    ear.listener.wake()
    await waitFor(() => ear.lives === 2)
    await hears(ear, "now")
  })
})
