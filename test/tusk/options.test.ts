/** Bad input to tasks and jobs, as plain JavaScript would pass it: one clear error, and nothing stored or lost. */
import { describe, expect, test } from "vitest"
import { DuplicateTaskError, InvalidOptionError } from "../../src/api/errors.js"
import { task, taskRef } from "../../src/index.js"
import { bench, openTusk, rejection } from "../jobs/setup.js"

const on = bench()
const work = task({ name: "work" }, async (n: number) => n)
const loose = work as unknown as { with(options: unknown): { enqueue(...args: unknown[]): Promise<unknown> } }

async function refused(use: () => unknown): Promise<any> {
  const error = await rejection((async () => use())())
  expect(await on.db.query("select 1 from tusk.jobs")).toEqual([])
  return error
}

describe("options of a job", () => {
  const known = "queue, retries, backoff, ttl, timeout, priority, keep, via, tx, delay"
  test.each<[unknown, RegExp]>([
    [{ priorty: 3 }, /Unknown option "priorty" of a job of task "work"; did you mean "priority"\?/],
    [{ prio: 3 }, /Unknown option "prio".*did you mean "priority"\?/],
    [{ retry: 3 }, /Unknown option "retry".*its options are queue, retries,/],
    [{ dependson: [] }, /Unknown option "dependson".*did you mean "dependsOn"\?/],
    [{ xyzzy: 3 }, new RegExp(`Unknown option "xyzzy".*its options are ${known}`)],
    [{ name: "x" }, /Unknown option "name" .*give it to the task: task\(\{ name: … \}, function\)/],
    [{ delay: -1 }, /Option "delay" of a job of task "work" is -1, which is negative; write a duration of 0 or more/],
    [{ delay: Number.NaN }, /is NaN, which is not a duration; write seconds as a number \(60\), or a string with a unit/],
    [{ delay: Number.POSITIVE_INFINITY }, /is Infinity, which is not a duration/],
    [{ delay: "soon" }, /is "soon", which is not a duration/],
    [{ delay: "5 minutes" }, /is "5 minutes", .*did you mean "5m"\?/],
    [{ delay: "60" }, /is "60", .*did you mean 60 \(seconds\)\?/],
    [{ delay: "-5s" }, /is "-5s", which is negative/],
    [{ delay: new Date(Number.NaN) }, /is Invalid Date, which is an invalid Date; check what the Date was made from/],
    [{ delay: new Date(-1e15) }, /lies outside of the years 1 to 9999/],
    [{ delay: 1e12 }, /longer than 100 years/],
    [{ delay: 5n }, /is 5n, which is not a duration/],
    [{ ttl: 0 }, /"ttl".* is 0, which is no time at all; write a duration above 0, or leave the option out/],
    [{ ttl: "1y" }, /"ttl".* is "1y", which is not a duration/],
    [{ timeout: -1 }, /"timeout".* is -1, which is negative/],
    [{ repeatEvery: 0 }, /"repeatEvery".* is 0, which is no time at all/],
    [
      { priority: 32_768 },
      /"priority".* is 32768, which is out of range or not an integer; write an integer from -32768 to 32767 \(lower runs first\)/,
    ],
    [{ priority: -32_769 }, /"priority".* is -32769/],
    [{ priority: 1.5 }, /"priority".* is 1\.5/],
    [{ priority: "high" }, /"priority".* is "high"/],
    [{ priority: Number.NaN }, /"priority".* is NaN/],
    [{ retries: -1 }, /"retries".* is -1.*write an integer from 0 to 32767 \(extra runs after the first\)/],
    [{ retries: Number.POSITIVE_INFINITY }, /"retries".* is Infinity/],
    [{ queue: "" }, /"queue".* is "", which is empty/],
    [{ queue: 5 }, /"queue".* is 5, which is not a string/],
    [{ queue: "a\0" }, /"queue".* U\+0000/],
    [{ headers: { a: 1 } }, /"a" of option "headers".* is 1, which is not a string; write a string, as in String\(value\)/],
    [{ headers: "x" }, /"headers".* is "x", which is not an object; write strings by name/],
    [{ keep: { completed: true } }, /completed of option "keep".* is true, which is not a duration/],
    [{ keep: { complete: 5 } }, /"keep".* has an unknown key "complete"; did you mean completed\?/],
    [{ backoff: () => 5 }, /"backoff".* cannot be stored with one job; put the function on the task/],
    [{ backoff: { bas: 2 } }, /"backoff".* which is not a backoff; write a base \(2\)/],
    [{ wake: "later" }, /"wake".* is "later".*write one of "now", "poll"/],
    [{ via: {} }, /"via".* is \{\}, which is not a client of pgtusk; pass what configure\(\) or new Tusk\(\) returned/],
    [5, /The options of a job of task "work" is 5, which is not an object; write with\(\{ delay: 5 \}\)/],
    [null, /is null, which is not an object/],
    [[{ delay: 5 }], /which is not an object/],
  ])("with(%o)", async (options, message) => {
    const error = await refused(() => loose.with(options))
    expect(error).toBeInstanceOf(InvalidOptionError)
    expect(error.message).toMatch(message)
    // By name, for tools, the same words.
    if (typeof options === "object" && options !== null && !Array.isArray(options) && !("via" in options)) {
      expect((await refused(() => on.tusk.enqueue("work", [], options))).message).toBe(error.message)
    }
  })

  test.each<[unknown, RegExp]>([
    [null, /"tx".* is null, which is no transaction; pass the transaction that your client gave you, or leave the option out/],
    ["trx", /^tx: a string was given; supported are Prisma, Kysely.*Drizzle.*postgres\.js.*Knex.*MikroORM.*TypeORM.*pg \(Client, PoolClient\)/],
    [{}, /^tx: an object without keys was given; supported are/],
    [{ begin: 1, commit: 2 }, /^tx: an object with the keys begin, commit was given/],
    [Promise.resolve(), /^tx: a promise \(await it first\) was given/],
    [new Map(), /^tx: an instance of Map/],
  ])("tx: %s", async (tx, message) => {
    const error = await refused(() => work.with({ via: on.tusk, tx }).enqueue(1))
    expect(error).toBeInstanceOf(InvalidOptionError)
    expect(error.message).toMatch(message)
  })
})

describe("tasks", () => {
  test.each<[() => unknown, RegExp]>([
    [() => task({}, (() => async () => {})()), /A task needs a name, and its function has none; write task\(\{ name: "emails\.send" \}, function\)/],
    [() => task({ name: "" }, async () => {}), /A task needs a name/],
    [() => task({ name: 5 as never }, async () => {}), /"name" of a task is 5, which is not a string/],
    [() => task({ name: "t", retrys: 3 } as never, async () => {}), /Unknown option "retrys" of task "t"; did you mean "retries"\?/],
    [
      () => task({ name: "t", delay: 3 } as never, async () => {}),
      /Unknown option "delay" of task "t"; give it with each job: task\.with\(\{ delay: … \}\)/,
    ],
    [() => task({ name: "t", ttl: -1 }, async () => {}), /Option "ttl" of task "t" is -1, which is negative/],
    [() => task({ name: "t", priority: 1e9 }, async () => {}), /Option "priority" of task "t" is 1000000000/],
    [() => task({ name: "t" }, "work" as never), /The second argument of task\(\) for "t" is "work", which is not a function/],
    [() => task({ name: "t", input: {} as never }, async () => {}), /"input" of task "t"/],
    [() => taskRef(""), /A task needs a name/],
  ])("a wrong definition is refused (%#)", async (make, message) => {
    const error = await refused(make)
    expect(error).toBeInstanceOf(InvalidOptionError)
    expect(error.message).toMatch(message)
  })

  test("a name taken twice", async () => {
    const error = await refused(() => task({ name: "work" }, async () => {}))
    expect(error).toBeInstanceOf(DuplicateTaskError)
    expect(error.message).toMatch(/Two functions have the task name "work"; give one of them another name/)
    // The first one stays what it was.
    expect(await work(5)).toBe(5)
  })
})

describe("lists and calls", () => {
  test.each<[() => unknown, RegExp]>([
    [() => (work.with({ via: on.tusk }) as any).enqueueMany("abc"), /The list for enqueueMany\(\) of task "work" is "abc", which is not an array/],
    [
      () => (work.with({ via: on.tusk }) as any).enqueueMany([[1], 2]),
      /Item 1 of the list for enqueueMany\(\) of task "work" is 2, which is not an argument list; write \[argument\]/,
    ],
    [() => on.tusk.enqueueMany([work as any]), /A call is .*, which is none; write task\.call\(…arguments\)/],
    [() => on.tusk.enqueueMany("x" as any), /enqueueMany\(\).*"x".*which is not a list/],
    [() => on.tusk.enqueue("work", "abc" as any), /The arguments .*"work".*"abc", which is not a list; write \[argument\]/],
    [() => on.tusk.enqueue(5 as any), /"name" of a task is 5/],
  ])("a wrong list or call is refused (%#)", async (use, message) => {
    const error = await refused(use)
    expect(error).toBeInstanceOf(InvalidOptionError)
    expect(error.message).toMatch(message)
  })

  test("one call for two transactions is refused, and stores in neither", async () => {
    const error = await refused(() =>
      on.tusk.transaction((a) => on.tusk.transaction((b) => on.tusk.enqueueMany([work.call(1).with({ tx: a }), work.call(2).with({ tx: b })]))),
    )
    expect(error).toBeInstanceOf(InvalidOptionError)
    expect(error.message).toMatch(
      /jobs of one call are stored together, and those of task "work" and "work" have different transactions \(option "tx"\)/,
    )
    await refused(() => on.tusk.transaction((tx) => on.tusk.enqueueMany([work.call(1).with({ tx }), work.call(2)])))
    await on.tusk.transaction((tx) => on.tusk.enqueueMany([work.call(1).with({ tx }), work.call(2)], { tx }))
    expect(await on.db.query("select args from tusk.jobs order by seq")).toEqual([{ args: [1] }, { args: [2] }])
  })

  test("a call for another client is refused", async () => {
    const other = openTusk({ connectionString: on.db.url })
    const error = await refused(() => on.tusk.enqueueMany([work.call(1).with({ via: other })]))
    expect(error).toBeInstanceOf(InvalidOptionError)
    expect(error.message).toMatch(/a job of task "work" has another client \(option "via"\); enqueue it with that client/)
    expect(await on.tusk.enqueueMany([work.call(1).with({ via: on.tusk })])).toHaveLength(1)
  })

  test("a bad item beside one that an asynchronous schema refuses: one error, and no rejection left over", async () => {
    const input = {
      "~standard": {
        version: 1,
        vendor: "test",
        validate: async (value: unknown) => (value === "bad" ? { issues: [{ message: "bad" }] } : { value }),
      },
    } as const
    const checked = task({ name: "checked", input }, async () => {})
    const strays: unknown[] = []
    const listen = (reason: unknown): void => void strays.push(reason)
    process.on("unhandledRejection", listen)
    const error = await refused(() => on.tusk.enqueueMany([checked.call("bad"), checked.call((() => 1) as never)]))
    expect(error.code).toBe("PAYLOAD")
    await new Promise((resolve) => setImmediate(resolve))
    process.off("unhandledRejection", listen)
    expect(strays).toEqual([])
    expect((await refused(() => on.tusk.enqueueMany([checked.call("bad"), checked.call("good")]))).code).toBe("VALIDATION")
  })
})
