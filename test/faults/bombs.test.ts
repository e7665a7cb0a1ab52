/** Payloads made to hurt: too large, too deep, with numbers and keys that mean something elsewhere. Each is refused by its size or path, or goes through whole; the worker lives. */
import { describe, expect, test } from "vitest"
import { PayloadError, PayloadTooLargeError, TuskError } from "../../src/api/errors.js"
import { type EnqueueOptions, type Tusk, task } from "../../src/index.js"
import { sqlStateOf } from "../../src/postgres/run/sqlstate.js"
import { rejection } from "../jobs/setup.js"
import { ground } from "../worker/ground.js"

const g = ground()
const MIB = 1024 * 1024

const nested = (depth: number): unknown => Array.from({ length: depth }).reduce((inner) => [inner], 1 as unknown)
const nestedText = (depth: number, open = "[", close = "]"): string => open.repeat(depth) + close.repeat(depth)

interface Stage {
  readonly tusk: Tusk
  readonly queue: string
  /** What the handler returned of a job with these arguments, as JSON text of Postgres, in SQL. */
  insert(args: string): Promise<string>
  /** That the worker still works. */
  alive(): Promise<void>
}

/** A worker of one slot whose task says how many arguments it got. */
async function stage(client: { maxPayloadBytes?: number | null } = {}): Promise<Stage> {
  const queue = g.name("q")
  const count = task({ name: g.name("count"), queue }, (...args: unknown[]) => args.length)
  const tusk = g.open(client)
  await tusk.work({ queues: { [queue]: 1 }, drainTimeout: 1 })
  return {
    tusk,
    queue,
    insert: async (args) => (await g.db.query("select tusk.enqueue($1, $2, $3) as id", [count.taskName, args, JSON.stringify({ queue })]))[0].id,
    alive: async () => expect(await (await count.with({ via: tusk }).enqueue(1, 2)).result({ timeout: 20 })).toBe(2),
  }
}

describe("ten megabytes", () => {
  test("are refused with their size and the limit, one by one and in a list, and nothing of it is stored", async () => {
    const { tusk, queue, alive } = await stage()
    const large = "x".repeat(10 * MIB)
    expect(await rejection(tusk.enqueue("t", [large], { queue }))).toBeInstanceOf(PayloadTooLargeError)
    const many = task({ name: g.name("many"), queue }, (_: string) => undefined)
    const error = await rejection(many.with({ via: tusk }).enqueueMany([["small"], [large]]))
    expect(error.message).toMatch(/10,485,764 bytes.*1,048,576.*maxPayloadBytes/)
    expect(await g.counts(queue)).toEqual({})
    await alive()
  })

  test("go through whole where the limit is lifted: arguments, result, snapshot", { timeout: 60_000 }, async () => {
    const { tusk, queue, alive } = await stage({ maxPayloadBytes: null })
    const echo = task({ name: g.name("echo"), queue }, (text: string) => text)
    const large = "é".repeat(5 * MIB)
    const job = await echo.with({ via: tusk }).enqueue(large)
    expect((await job.result({ timeout: 30 })) === large).toBe(true)
    expect((await job.snapshot()).args[0] === large).toBe(true)
    await alive()
  })

  test("of an error's message are cut, of progress refused or left out", { timeout: 60_000 }, async () => {
    const { tusk, queue, alive } = await stage()
    const fails = task({ name: g.name("fails"), queue }, () => {
      throw new Error("x".repeat(10 * MIB))
    })
    const failed = await fails.with({ via: tusk }).enqueue()
    await failed.settled({ timeout: 30 })
    expect(JSON.stringify((await failed.snapshot()).error).length).toBeLessThan(100_000)
    const reports = task({ name: g.name("reports"), queue, progress: true }, (report) => {
      report(0.5, "x".repeat(10 * MIB))
      return "returned"
    })
    const outcome = await (await reports.with({ via: tusk }).enqueue()).settled({ timeout: 30 })
    expect(outcome.ok || outcome.error instanceof TuskError).toBe(true)
    await alive()
  })
})

describe("ten thousand levels", () => {
  test("are refused with their path", async () => {
    const { tusk, queue, alive } = await stage()
    expect(await rejection(tusk.enqueue("t", [nested(10_000)], { queue }))).toBeInstanceOf(PayloadError)
    expect(await rejection(tusk.jobs({ args: [nested(10_000)] }))).toBeInstanceOf(PayloadError)
    await alive()
  })

  test.each([1_500, 5_000, 10_000])("%i levels that somebody stores in SQL: Postgres refuses them, or the job runs", async (depth) => {
    const { tusk, insert, alive } = await stage()
    for (const args of [`[${nestedText(depth)}]`, `[${nestedText(depth, '{"a":', "}").replace(":}", ":1}")}]`]) {
      let id: string
      try {
        id = await insert(args)
      } catch (error) {
        expect(sqlStateOf(error)).toBe("54001")
        continue
      }
      expect(await tusk.job(id).result({ timeout: 20 })).toBe(1)
      expect((await tusk.job(id).snapshot()).args).toHaveLength(1)
    }
    await alive()
  })
})

describe("numbers", () => {
  test("that no double holds, stored in SQL, reach the handler as what JSON makes of them", async () => {
    const { tusk, queue, alive, insert } = await stage()
    expect(await tusk.job(await insert(`[1e400, -1e400, 1e-400, 9007199254740993, ${"9".repeat(1_000)}]`)).result({ timeout: 20 })).toBe(5)
    const echo = task({ name: g.name("echo"), queue }, (...numbers: number[]) => numbers)
    const [row] = await g.db.query("select tusk.enqueue($1, '[1e400, -1e400, 1e-400]', $2) as id", [echo.taskName, JSON.stringify({ queue })])
    expect(await tusk.job(row.id).result({ timeout: 20 })).toEqual([Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0])
    await alive()
  })

  const NUMBERS = [Number.NaN, Number.POSITIVE_INFINITY, -1, 1e308, 2 ** 53, -0.5, 2 ** 31, 1n, "1e400ms", `${"9".repeat(400)}s`]
  const OPTIONS = ["priority", "retries", "ttl", "timeout", "delay", "backoff", "repeatEvery"]
  test.each(OPTIONS)("of the option %s are refused, or their job can be read and removed", async (option) => {
    const tusk = g.open()
    for (const value of NUMBERS) {
      try {
        const job = await tusk.enqueue("unknown", [], { queue: "numbers", [option]: value } as EnqueueOptions)
        expect((await job.snapshot()).id).toBe(job.id)
        expect(await job.remove()).toBe(true)
      } catch (error) {
        expect(error, `${option} ${String(value)}`).toBeInstanceOf(TuskError)
      }
      const text = typeof value === "number" ? (Number.isFinite(value) ? String(value) : "1e400") : JSON.stringify(String(value))
      const [row] = await g.db
        .query("select tusk.enqueue('unknown', '[]', $1) as id", [`{"queue": "numbers", ${JSON.stringify(option)}: ${text}}`])
        .catch((error) => {
          expect(sqlStateOf(error), `${option} ${text}: ${error.message}`).toBe("PT400")
          return [undefined]
        })
      if (row !== undefined) expect(await tusk.job(row.id).remove()).toBe(true)
    }
  })
})

describe("keys that mean something elsewhere", () => {
  test("of arguments, headers and options change no prototype, and options know them not", async () => {
    const { tusk, queue, alive } = await stage()
    const evil = JSON.parse('{"__proto__": {"polluted": "yes"}, "constructor": {"prototype": {"polluted": "yes"}}, "toString": "x", "toJSON": "x"}')
    const headers = JSON.parse('{"__proto__": "a", "constructor": "b", "hasOwnProperty": "c"}')
    const got: unknown[] = []
    const look = task({ name: g.name("look"), queue }, (value: unknown) => {
      got.push(value)
      return value
    })
    const job = await look.with({ via: tusk, headers }).enqueue(evil)
    expect(JSON.stringify(await job.result({ timeout: 20 }))).toBe(JSON.stringify(got[0]))
    expect(Object.keys((await job.snapshot()).headers).sort()).toEqual(["__proto__", "constructor", "hasOwnProperty"])
    expect(Object.keys(got[0] as object).sort()).toEqual(["__proto__", "constructor", "toJSON", "toString"])
    expect(({} as { polluted?: string }).polluted).toBeUndefined()
    for (const options of ['{"__proto__": {"queue": "evil"}}', '{"constructor": 1}', '{"queue": "q", "__proto__": null}']) {
      expect((await rejection(tusk.enqueue("t", [], JSON.parse(options)))).code).toBe("INVALID_OPTION")
      expect(sqlStateOf(await rejection(g.db.query("select tusk.enqueue('t', '[]', $1)", [options])))).toBe("PT400")
    }
    await alive()
  })

  test("U+0000 in SQL is refused by Postgres, and as an argument by its path", async () => {
    const { tusk, queue, alive, insert } = await stage()
    expect(sqlStateOf(await rejection(insert('["\\u0000"]')))).toBe("22P05")
    expect(sqlStateOf(await rejection(insert('["\\ud800"]')))).toBe("22P02")
    expect((await rejection(tusk.enqueue("t", [{ deep: ["a\0"] }], { queue }))).path).toBe("$[0].deep[0]")
    expect((await rejection(tusk.enqueue("t", [{ "\uD800": 1 }], { queue }))).path).toMatch(/^\$\[0\]/)
    await alive()
  })
})
