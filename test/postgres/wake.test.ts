import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { schemaNames } from "../../src/postgres/names.js"
import { Runner } from "../../src/postgres/pool.js"
import { statementsFor } from "../../src/postgres/statements.js"
import { type Hint, lanesOf, Notifier, parseHint, WakeHub } from "../../src/postgres/wake.js"
import { bench, connect, RecordingPool } from "../jobs/setup.js"
import { startProxy } from "../support/proxy.js"
import { waitFor } from "../support/wait.js"

const on = bench()
const names = schemaNames("tusk")
const statements = statementsFor(names, true)
const quiet = { debug() {}, info() {}, warn() {}, error() {} }
let pool: RecordingPool
let hub: WakeHub
let notifier: Notifier
let inProcess: Hint[]
let heard: string[]
beforeEach(async () => {
  pool = new RecordingPool({ connectionString: on.db.url, max: 2 })
  hub = new WakeHub()
  inProcess = []
  hub.listen((hint) => void inProcess.push(hint))
  notifier = new Notifier({ hub, runner: new Runner(pool, "here"), statements, names, self: "me", logger: quiet })
  const ear = await connect(on.db.url)
  heard = []
  ear.on("notification", ({ payload }) => heard.push(payload ?? ""))
  await ear.query(`listen "${names.channel}"`)
})
afterEach(() => pool.end())

const lane = (queue: string, priority: number, seq: number) => ({ queue, priority, seq })

describe("the notifier", () => {
  test("tells this process at once, and the others by one statement for a whole burst: the lowest seq of a lane, the soonest due", async () => {
    for (const seq of [30, 10, 20]) notifier.wake([lane("q", 5, seq), lane("q", 6, seq + 1)], seq * 100.5)
    notifier.ended(["a", "b"])
    notifier.queueChanged("q")
    expect(inProcess).toHaveLength(11)
    expect(heard).toEqual([])
    await notifier.flush()
    expect(pool.count("pg_notify")).toBe(1)
    await waitFor(() => heard.length === 5)
    expect(heard.map((text) => parseHint(text, "another")).toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))).toEqual(
      [
        { kind: "due", ms: 1_005 },
        { kind: "ended", ids: ["a", "b"] },
        { kind: "lane", lane: lane("q", 5, 10) },
        { kind: "lane", lane: lane("q", 6, 11) },
        { kind: "queue", queue: "q" },
      ].toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1)),
    )
    // Its own messages it knows already.
    expect(heard.map((text) => parseHint(text, "me"))).toEqual(Array.from({ length: 5 }, () => undefined))
  })

  test("lets a hint ride on the statement that it speaks of: one every two milliseconds, and none while another is on its way", async () => {
    const far = () => new Promise((resolve) => setTimeout(resolve, 5))
    expect(notifier.mayRide()).toBe(true)
    expect(notifier.mayRide()).toBe(false)
    await far()
    notifier.wake([lane("q", 5, 1)])
    expect(notifier.mayRide()).toBe(false)
    await notifier.flush()
    await far()
    expect(notifier.mayRide()).toBe(true)
    notifier.told([lane("q", 5, 2)])
    expect(inProcess).toEqual([1, 2].map((seq) => ({ kind: "lane", lane: lane("q", 5, seq) })))
    expect(pool.count("pg_notify")).toBe(1)
  })

  test("what comes while a statement is on its way leaves with the next, at whatever turn it comes", async () => {
    for (let turns = 0; turns < 60; turns++) {
      notifier.wake([lane("a", 0, turns)])
      for (let i = 0; i < turns; i++) await Promise.resolve()
      notifier.wake([lane("b", 0, turns)])
      await notifier.flush()
      await waitFor(() => heard.some((text) => text.startsWith(`["b",`) || JSON.parse(text)[1] === "b"))
      heard.length = 0
    }
  })

  test("a burst that lasts sends one statement every 2 ms at most, and its first hint at once", async () => {
    await pool.query("select 1")
    const began = performance.now()
    notifier.wake([lane("q", 5, 1)])
    await notifier.flush()
    for (let seq = 2; seq < 1_000; seq++) {
      notifier.wake([lane("q", 5, seq)])
      await new Promise(setImmediate)
    }
    await notifier.flush()
    const sent = pool.count("pg_notify")
    expect(sent).toBeGreaterThan(1)
    // A timer goes by the time at which its turn of the event loop began.
    expect(sent).toBeLessThanOrEqual((performance.now() - began) / 1.9 + 2)
    await waitFor(() => heard.length === sent)
  })

  test("messages stay below what NOTIFY carries, with a thousand ids and the longest queue names", async () => {
    const ids = Array.from({ length: 1_000 }, (_, i) => `01890000-0000-7000-8000-${String(i).padStart(12, "0")}`)
    notifier.cancel(ids)
    notifier.wake([lane("漢".repeat(255), -32_768, 2 ** 52)])
    await notifier.flush()
    await waitFor(() => heard.flatMap((text) => (JSON.parse(text)[0] === "c" ? JSON.parse(text)[1] : [])).length === 1_000)
    expect(Math.max(...heard.map((text) => Buffer.byteLength(text)))).toBeLessThan(8_000)
    expect(heard.map((text) => parseHint(text, "another"))).toContainEqual({ kind: "lane", lane: lane("漢".repeat(255), -32_768, 2 ** 52) })
  })

  test("nothing to tell sends nothing", async () => {
    notifier.wake([])
    notifier.wake([], null)
    notifier.ended([])
    notifier.cancel([])
    await notifier.flush()
    expect([inProcess, pool.statements]).toEqual([[], []])
  })

  test("one whose connection has gone silent is given up after 5 s, and flush() does not wait for it longer", async () => {
    const proxy = await startProxy(on.db.url)
    const silent = new RecordingPool({ connectionString: proxy.url })
    const runner = new Runner(silent, "silent")
    try {
      await runner.run({ text: "select 1" })
      proxy.pause()
      const far = new Notifier({ hub, runner, statements, names, self: "me", logger: quiet })
      far.wake([lane("q", 0, 1)])
      const given = Promise.race([far.flush().then(() => "given up"), new Promise((resolve) => setTimeout(resolve, 15_000, "waits"))])
      expect(await given).toBe("given up")
    } finally {
      await proxy.close()
      await silent.end()
    }
  })

  test("a database that is away costs the message, never the caller; the next one is sent", async () => {
    const away = new Notifier({
      hub,
      runner: new Runner(new RecordingPool({ connectionString: "postgres://x@127.0.0.1:1/x" }), "away"),
      statements,
      names,
      self: "me",
      logger: quiet,
    })
    away.wake([lane("q", 0, 1)])
    away.ended(["a"])
    await away.flush()
    expect(inProcess).toHaveLength(2)
    away.wake([lane("q", 0, 2)])
    await away.flush()
    expect(inProcess).toHaveLength(3)
  })
})

describe("the SQL function wake", () => {
  test("sends each lane and the due time on commit, rounded up; null sends nothing", async () => {
    await on.db.query("select tusk.wake($1, $2, 1500.2)", [
      names.channel,
      JSON.stringify([
        ["a", 1, 7],
        ["b", -2, 9_007_199_254_740_991],
      ]),
    ])
    await waitFor(() => heard.length === 3)
    expect(heard.map((text) => parseHint(text, "me"))).toEqual([
      { kind: "lane", lane: lane("a", 1, 7) },
      { kind: "lane", lane: lane("b", -2, Number.MAX_SAFE_INTEGER) },
      { kind: "due", ms: 1_501 },
    ])
    heard.length = 0
    await on.db.query("select tusk.wake(null, '[[\"a\", 1, 7]]', 5)")
    await on.db.query("select tusk.wake($1, null, null)", [names.channel])
    await on.db.query("select pg_notify($1, 'end')", [names.channel])
    await waitFor(() => heard.length > 0)
    expect(heard).toEqual(["end"])
  })
})

describe("parseHint", () => {
  test.each([
    ...[
      "",
      "null",
      "5",
      "{}",
      "[]",
      "not json",
      '["j"]',
      '["j",5,5,5]',
      '["j","q","5",5]',
      '["j","q",5.5,5]',
      '["j","q",5,1e300]',
      '["j","q",5,null]',
    ],
    ...['["d"]', '["d","5"]', '["d",null]', '["c"]', '["c","id"]', '["e",{}]', '["q",5]', '["z","q"]', '[["j"],1]', `["j","q",5,5,"@me"]`],
  ])("%s is no hint of another process", (payload) => {
    expect(parseHint(payload, "me")).toBeUndefined()
  })

  test("what is no id in a list of ids is left out, and what is late is due now", () => {
    expect(parseHint('["e",["a",5,null,"b"]]', "me")).toEqual({ kind: "ended", ids: ["a", "b"] })
    expect(parseHint('["d",-3]', "me")).toEqual({ kind: "due", ms: 0 })
  })

  test("lanesOf reads what SQL returns, and nothing else", () => {
    expect(lanesOf([["q", "5", "12"]])).toEqual([lane("q", 5, 12)])
    for (const value of [null, undefined, {}, "x"]) expect(lanesOf(value)).toEqual([])
  })
})
