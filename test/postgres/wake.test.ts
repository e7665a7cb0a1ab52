import { randomUUID } from "node:crypto"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { ALL_WORKERS, type Hint, type LaneHint, lanesOf, Notifier, parseDirect, parseHint, WakeHub } from "../../src/postgres/notify/wake.js"
import { Runner } from "../../src/postgres/run/pool.js"
import { schemaNames } from "../../src/postgres/statements/names.js"
import { statementsFor } from "../../src/postgres/statements/statements.js"
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
const forAll = (lane: LaneHint): Hint => ({ kind: "lane", lane, level: ALL_WORKERS, lead: false })

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
        forAll(lane("q", 5, 10)),
        forAll(lane("q", 6, 11)),
        { kind: "queue", queue: "q" },
      ].toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1)),
    )
    // Its own messages it knows already.
    expect(heard.map((text) => parseHint(text, "me"))).toEqual(Array.from({ length: 5 }, () => undefined))
  })

  test("lets a hint ride on the statement that it speaks of: one every two milliseconds, and none while another is on its way", async () => {
    const far = () => new Promise((resolve) => setTimeout(resolve, 5))
    expect(notifier.ride("q")).toBe("me")
    expect(notifier.ride("q")).toBeUndefined()
    await far()
    notifier.wake([lane("q", 5, 1)])
    expect(notifier.ride("q")).toBeUndefined()
    await notifier.flush()
    await far()
    expect(notifier.ride("q")).toBe("me")
    notifier.told([lane("q", 5, 2)])
    expect(inProcess).toEqual([1, 2].map((seq) => forAll(lane("q", 5, seq))))
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
    expect(heard.map((text) => parseHint(text, "another"))).toContainEqual(forAll(lane("漢".repeat(255), -32_768, 2 ** 52)))
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
      forAll(lane("a", 1, 7)),
      forAll(lane("b", -2, Number.MAX_SAFE_INTEGER)),
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

describe("the SQL function wake_lane", () => {
  /** A worker's row; its channel is listened to. */
  async function worker(pid: number, row: { listens?: boolean | null; queues?: string[]; beat?: string } = {}): Promise<string> {
    const { listens = true, queues = ["q"], beat = "0 s" } = row
    const id = randomUUID()
    const ear = await connect(on.db.url)
    ear.on("notification", ({ payload, channel }) => heard.push(`${channel.slice(7, 15)} ${payload}`))
    await ear.query(`listen "pgtusk:${id}"`)
    await on.db.query(
      `insert into tusk.workers (id, lease, pid, host, version, queues, tasks, listens, heartbeat_at)
       values ($1, '20 s', $2, 'here', '0', $3, '{}', $4, now() - $5::interval)`,
      [id, pid, queues, listens, beat],
    )
    return id
  }
  const mine = (id: string): string[] => heard.flatMap((text) => (text.startsWith(`${id.slice(0, 8)} `) ? [text.slice(9)] : []))
  const wake = (mark: string | null = null, taker: string | null = null, level = 0) =>
    on.db.query("select tusk.wake_lane($1, 'q', 5, 7, $2, $3, $4)", [names.channel, mark, taker, level])
  /** What was sent, once it has arrived. */
  async function sent(): Promise<void> {
    await on.db.query("select pg_notify($1, 'end')", [names.channel])
    await waitFor(() => heard.includes("end"))
    await new Promise((resolve) => setTimeout(resolve, 30))
    heard.splice(heard.indexOf("end"), 1)
  }
  beforeEach(() => on.db.query("delete from tusk.workers"))

  test("wakes one worker that serves the queue and listens, and names a guard in another process", async () => {
    const able = [await worker(1), await worker(1), await worker(2), await worker(2)]
    await worker(3, { queues: ["other"] })
    await worker(4, { listens: false })
    await worker(5, { beat: "21 s" })
    for (let i = 0; i < 10; i++) {
      heard.length = 0
      await wake()
      await sent()
      expect(heard).toHaveLength(2)
      const [woken, guard] = [
        able.filter((id) => mine(id)[0] === '["j", "q", 5, 7, 0, true]'),
        able.filter((id) => mine(id)[0] === '["g", "q", 5, 7]'),
      ]
      expect([woken.length, guard.length]).toEqual([1, 1])
      expect(able.indexOf(woken[0]!) < 2).toBe(able.indexOf(guard[0]!) >= 2)
    }
  })

  test("wakes nobody where a worker of the sender's process takes the jobs, and names a guard all the same", async () => {
    const [taker, other] = [await worker(1), await worker(2)]
    await wake("@me", taker)
    await sent()
    expect([mine(taker), mine(other), heard.length]).toEqual([[], ['["g", "q", 5, 7]'], 1])
    heard.length = 0
    await on.db.query("delete from tusk.workers where id = $1", [other])
    await wake("@me", taker)
    await sent()
    expect(heard).toEqual([])
  })

  test("at each level wakes four times as many, the first of them as their lead, and never the one that asks", async () => {
    const ids: string[] = []
    for (let pid = 0; pid < 8; pid++) ids.push(await worker(pid))
    await wake(null, ids[0]!, 1)
    await sent()
    const direct = ids.flatMap((id) => mine(id).map((text) => parseDirect(text)!))
    expect(direct.filter((hint) => hint.kind === "lane")).toHaveLength(4)
    expect(direct.filter((hint) => hint.kind === "lane" && hint.lead)).toHaveLength(1)
    expect(direct.filter((hint) => hint.kind === "guard")).toHaveLength(1)
    expect(mine(ids[0]!)).toEqual([])
    heard.length = 0
    await wake(null, ids[0]!, 2)
    await sent()
    expect(ids.filter((id) => mine(id).some((text) => text.startsWith('["j"')))).toHaveLength(7)
  })

  test("wakes a worker that knows the task, if there is one, whoever takes jobs in the sender's process", async () => {
    const [other, knows] = [await worker(1), await worker(2)]
    await on.db.query("update tusk.workers set tasks = '{mine}' where id = $1", [knows])
    const [job] = await on.db.query(
      "insert into tusk.jobs (id, queue, task, priority, max_attempts, args) values (gen_random_uuid(), 'q', 'mine', 5, 1, '[]') returning id, seq",
    )
    await on.db.query("select tusk.wake_lane($1, 'q', 5, $2, '@me', $3)", [names.channel, job.seq, other])
    await sent()
    expect([mine(knows), heard.length]).toEqual([[`["j", "q", 5, ${job.seq}, 0, true]`], 1])
    await on.db.query("delete from tusk.jobs where id = $1", [job.id])
  })

  test("tells all where nobody is there to be picked, and also workers of 0.1.0, which know no other channel", async () => {
    await worker(1, { listens: false })
    await wake("@me")
    await sent()
    expect(heard).toEqual(['["j", "q", 5, 7, "@me"]'])
    heard.length = 0
    const able = await worker(2)
    await worker(3, { listens: null })
    await wake("@me")
    await sent()
    expect(mine(able)).toEqual(['["j", "q", 5, 7, 0, true]'])
    expect(heard.filter((text) => text.startsWith("["))).toEqual(['["j", "q", 5, 7, "+", "@me"]'])
    // Workers that are picked by name leave that one alone.
    expect(parseHint('["j", "q", 5, 7, "+", "@me"]', "another")).toBeUndefined()
    expect(parseHint('["d", 7, "+"]', "another")).toBeUndefined()
  })
})

describe("the hub of a process", () => {
  test("offers a lane to one worker that takes it, in turn; where none does, to all", () => {
    const hub = new WakeHub()
    const got: string[] = []
    const join = (id: string, takes: boolean) => hub.listen((_, meant) => meant && got.push(id), { id, takes: () => takes })
    join("busy", false)
    const offer = () => hub.emit({ kind: "lane", lane: lane("q", 5, 1), level: 0, lead: true })
    expect([offer(), got]).toEqual([undefined, ["busy"]])
    got.length = 0
    join("a", true)
    const leave = join("b", true)
    expect([offer(), offer(), offer()]).toEqual(["a", "b", "a"])
    expect(got).toEqual(["a", "b", "a"])
    leave()
    expect([hub.taker("q"), offer()]).toEqual(["a", "a"])
    hub.emit({ kind: "queue", queue: "q" })
    expect(got.slice(-2).toSorted()).toEqual(["a", "busy"])
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
