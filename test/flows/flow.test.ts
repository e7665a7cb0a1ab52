/** Flows by typed references: what is stored, what is passed on, what is refused. */
import { beforeEach, describe, expect, test } from "vitest"
import * as z from "zod"
import { FlowError, flow, type Job, JobFailedError, PayloadError, task } from "../../src/index.js"
import { waitFor } from "../support/wait.js"
import { ground, reaches } from "../worker/ground.js"
import { echo, fails, give, nothing } from "./tasks.js"

const on = ground()
const WAIT = { timeout: 15 }

beforeEach(() => on.db.query("truncate tusk.jobs, tusk.job_dependencies, tusk.keys"))
const stored = async (): Promise<number> => (await on.db.query("select count(*)::int as n from tusk.jobs"))[0].n

describe("results", () => {
  test("a reference is the dependency, and the parent's result stands in its place", async () => {
    const tusk = on.open()
    const order = flow("order", (f) => {
      const one = f.add(give.call(1))
      const two = f.add(give.call("two"))
      return f.add(echo.call("first", one.result, two.result, one.result))
    })
    const job = await order.enqueue()
    expect(await job.snapshot()).toMatchObject({
      state: "blocked",
      args: ["first", null, null, null],
      dependsOn: expect.arrayContaining([job.jobs[0]!.id, job.jobs[1]!.id]),
      waitingFor: expect.arrayContaining([job.jobs[0]!.id, job.jobs[1]!.id]),
    })
    await tusk.work()
    expect(await job.result(WAIT)).toEqual(["first", 1, "two", 1])
    expect(await job.snapshot()).toMatchObject({ args: ["first", 1, "two", 1], waitingFor: [] })
    expect(job.jobs.map((each) => each.task)).toEqual([give.taskName, give.taskName, echo.taskName])
    expect(job.jobs[2]!.id).toBe(job.id)
  })

  test.each([
    ["a Date", new Date("2026-05-01T10:00:00.123Z")],
    ["a bigint", 12345678901234567890n],
    ["bytes", new Uint8Array([0, 255])],
    ["undefined", undefined],
    ["null", null],
    ["NaN", Number.NaN],
    ["a Map", new Map([["a", new Date(0)]])],
    ["an object like a tag", { $date: "2026-01-01T00:00:00.000Z" }],
    ["a nested one", { a: [{ b: [1n, undefined, "x"] }], ключ: "\u{1f418}" }],
    ["text with quotes", `a "b" \\ '{}' $1`],
    ["an empty list", []],
  ])("%s", async (_, value) => {
    const tusk = on.open()
    await tusk.work()
    const job = await flow("values", (f) => {
      const parent = f.add(give.call(value as unknown))
      return f.add(echo.call(parent.result, f.all(parent, parent) as never, "last"))
    }).enqueue()
    expect(await job.result(WAIT)).toEqual([value, [value, value], "last"])
  })

  test("a parent that returns nothing gives undefined, so a default applies", async () => {
    const tusk = on.open()
    const withDefault = task({ name: on.name("default"), queue: "flows" }, (first: void, second = "by default") => [first, second])
    await tusk.work()
    const job = await flow("void", (f) => {
      const parent = f.add(nothing.call())
      return f.add(withDefault.call(parent.result, parent.result as never))
    }).enqueue()
    expect(await job.result(WAIT)).toEqual([undefined, "by default"])
  })

  test("all() is one argument with the results in its order; after is a dependency without any", async () => {
    const tusk = on.open()
    const job = await flow("all", (f) => {
      const [a, b, c] = ["a", "b", "c"].map((label) => f.add(give.call(label)))
      return f.add(echo.call(f.all(c!, a!), f.all()), { after: [b!, a!] })
    }).enqueue()
    expect((await job.snapshot()).waitingFor).toHaveLength(3)
    await tusk.work()
    expect(await job.result(WAIT)).toEqual([["c", "a"], []])
  })

  test("a diamond: each node once, parents before children", async () => {
    const tusk = on.open()
    const ran: string[] = []
    const step = task({ name: on.name("step"), queue: "flows" }, (label: string, ...from: string[]) => {
      ran.push(label)
      return `${label}(${from.join(",")})`
    })
    await tusk.work()
    const job = await flow("diamond", (f) => {
      const top = f.add(step.call("top"))
      const left = f.add(step.call("left", top.result))
      const right = f.add(step.call("right", top.result))
      return f.add(step.call("bottom", left.result, right.result))
    }).enqueue()
    expect(await job.result(WAIT)).toBe("bottom(left(top()),right(top()))")
    expect([ran[0], ran.slice(1, 3).sort(), ran[3]]).toEqual(["top", ["left", "right"], "bottom"])
  })

  test("a schema checks the argument that a parent gives, at run time", async () => {
    const tusk = on.open()
    const schema = z.object({ cents: z.number().transform((n) => n * 2) })
    const checked = task({ name: on.name("checked"), queue: "flows", retries: 3, input: schema }, (order) => order.cents)
    await tusk.work()
    const good = await flow("good", (f) => f.add(checked.call(f.add(give.call({ cents: 21 })).result as never))).enqueue()
    expect(await good.result(WAIT)).toBe(42)
    const bad = await flow("bad", (f) => f.add(checked.call(f.add(give.call({ cents: "many" })).result as never))).enqueue()
    const error = (await bad.result(WAIT).catch((e: unknown) => e)) as JobFailedError
    expect(error).toBeInstanceOf(JobFailedError)
    expect(error.snapshot).toMatchObject({ state: "failed", attempt: 1, error: { name: "ValidationError", message: expect.stringMatching(/cents/) } })
    // Arguments that are no references are checked at once.
    const wrong = flow("wrong", (f) => f.add(checked.call({ cents: "now" } as never)))
    await expect(wrong.enqueue()).rejects.toThrow(/does not fit its schema/)
  })

  test("parents in another queue and with other options", async () => {
    const tusk = on.open()
    const other = on.name("other")
    await tusk.work({ queues: ["flows", other] })
    const job = await flow("queues", (f) => {
      const parent = f.add(give.with({ queue: other, priority: 1, headers: { a: "b" } }).call("far") as ReturnType<typeof give.call>)
      return f.add(echo.with({ priority: 9 }).call(parent.result))
    }).enqueue()
    expect(await job.result(WAIT)).toEqual(["far"])
    expect(await job.jobs[0]!.snapshot()).toMatchObject({ queue: other, priority: 1, headers: { a: "b" } })
    expect(await job.snapshot()).toMatchObject({ queue: "flows", priority: 9 })
  })
})

describe("enqueue()", () => {
  test("as often as you like: each time all of it, anew", async () => {
    const tusk = on.open()
    const pair = flow("pair", (f) => f.add(echo.call(f.add(give.call(1)).result)))
    const first = await pair.enqueue()
    const second = await pair.enqueue()
    expect(new Set([...first.jobs, ...second.jobs].map((job) => job.id)).size).toBe(4)
    const flows = await on.db.query("select id, options -> 'flow' as flow from tusk.jobs")
    const ofFirst = flows.filter((row) => first.jobs.some((job) => job.id === row.id)).map((row) => row.flow)
    expect(ofFirst).toEqual([{ id: expect.any(String), name: "pair" }, ofFirst[0]])
    expect(new Set(flows.map((row) => row.flow.id)).size).toBe(2)
    await tusk.work()
    expect([await first.result(WAIT), await second.result(WAIT)]).toEqual([[1], [1]])
  })

  test("in a transaction: all of it if that commits, nothing if not", async () => {
    const tusk = on.open()
    const pair = flow("pair", (f) => f.add(echo.call(f.add(give.call("in tx")).result)))
    let rolledBack: Job | undefined
    await expect(
      tusk.transaction(async (tx) => {
        rolledBack = await pair.enqueue({ tx })
        throw new Error("no")
      }),
    ).rejects.toThrow("no")
    await expect(rolledBack!.state()).rejects.toMatchObject({ code: "UNKNOWN_JOB" })
    expect(await stored()).toBe(0)
    await tusk.work({ poll: "1m" })
    const job = await tusk.transaction((tx) => pair.enqueue({ tx }))
    expect(await job.result(WAIT)).toEqual(["in tx"])
  })

  test("by another client than the default one", async () => {
    const one = on.open()
    on.open()
    const job = await flow("via", (f) => f.add(give.call("x"))).enqueue({ via: one })
    expect(await one.job(job.id).state()).toBe("waiting")
  })

  test("one node that cannot be stored, and nothing is", async () => {
    on.open()
    const bad = flow("bad", (f) => {
      f.add(give.call(1))
      return f.add(give.call((() => 1) as unknown))
    })
    await expect(bad.enqueue()).rejects.toBeInstanceOf(PayloadError)
    expect(await stored()).toBe(0)
  })

  test("its options are checked", async () => {
    on.open()
    const one = flow("one", (f) => f.add(give.call(1)))
    await expect(one.enqueue({ delay: 5 } as never)).rejects.toThrow(/"delay"/)
    await expect(one.enqueue({ tx: {} })).rejects.toMatchObject({ code: "INVALID_OPTION" })
  })
})

describe("nodes that turn out to be duplicates", () => {
  test("the edges follow the owner, and its result is passed on", async () => {
    const tusk = on.open()
    const key = on.name("key")
    const owner = await give.with({ deduplicate: key }).enqueue("the owner's")
    const job = await flow("keyed", (f) => {
      const parent = f.add(give.with({ deduplicate: key }).call("the duplicate's"))
      return f.add(echo.call(parent.result))
    }).enqueue()
    expect([job.jobs[0]!.id, job.jobs[0]!.created, job.created]).toEqual([owner.id, false, true])
    expect(await job.snapshot()).toMatchObject({ state: "blocked", dependsOn: [owner.id] })
    await tusk.work()
    expect(await job.result(WAIT)).toEqual(["the owner's"])
    expect(await on.db.query("select 1 from tusk.jobs where args::text like '%duplicate%'")).toEqual([])
  })

  test("an owner that has finished already, by its custom id", async () => {
    const tusk = on.open()
    await tusk.work()
    const id = on.name("custom")
    const owner = await give.with({ id }).enqueue("long done")
    await owner.result(WAIT)
    const job = await flow("custom", (f) => f.add(echo.call(f.add(give.with({ id }).call("again")).result))).enqueue()
    expect(job.jobs[0]!.created).toBe(false)
    expect(await job.result(WAIT)).toEqual(["long done"])
  })

  test("two nodes of one flow with one key: the first is the job of both", async () => {
    const tusk = on.open()
    const key = on.name("key")
    const job = await flow("twice", (f) => {
      const a = f.add(give.with({ deduplicate: key }).call("a"))
      const b = f.add(give.with({ deduplicate: key }).call("b"))
      return f.add(echo.call(b.result, a.result))
    }).enqueue()
    expect(job.jobs[1]).toMatchObject({ id: job.jobs[0]!.id, created: false })
    expect((await job.snapshot()).waitingFor).toEqual([job.jobs[0]!.id])
    await tusk.work()
    expect(await job.result(WAIT)).toEqual(["a", "a"])
  })

  test("a child that is a duplicate: the owner's own parents count, and the handle is the owner's", async () => {
    const tusk = on.open()
    const key = on.name("key")
    const owner = await give.with({ deduplicate: key }).enqueue("owner")
    const job = await flow("child", (f) => {
      const parent = f.add(fails.call())
      return f.add(give.with({ deduplicate: key }).call(parent.result as never), { after: [parent] })
    }).enqueue()
    expect([job.id, job.created]).toEqual([owner.id, false])
    expect(await on.db.query("select 1 from tusk.job_dependencies where child_id = $1", [job.id])).toEqual([])
    await tusk.work()
    expect(await job.result(WAIT)).toBe("owner")
  })

  test("a node that comes to one of its own parents waits for nothing", async () => {
    on.open()
    const key = on.name("key")
    const circle = flow("circle", (f) => {
      const a = f.add(give.with({ deduplicate: key }).call("a"))
      const middle = f.add(give.call("m"), { after: [a] })
      return f.add(echo.with({ deduplicate: key }).call(middle.result), { after: [a] })
    })
    // The last is a duplicate of the first, so its edges are not stored: no circle.
    const job = await circle.enqueue()
    expect(job.id).toBe(job.jobs[0]!.id)
    expect(await stored()).toBe(2)
    await reaches(job, "waiting")
  })

  test("several flows at once with one key: one owner, every child gets its result", async () => {
    const tusk = on.open()
    const key = on.name("key")
    await tusk.work()
    const jobs = await Promise.all(
      Array.from({ length: 10 }, (_, i) =>
        flow("shared", (f) => f.add(echo.call(i, f.add(give.with({ deduplicate: { key, ttl: "1h" } }).call(i)).result))).enqueue(),
      ),
    )
    const owner = new Set(jobs.map((job) => job.jobs[0]!.id))
    expect(owner.size).toBe(1)
    const results = (await Promise.all(jobs.map((job) => job.result(WAIT)))) as [number, number][]
    expect(results.map(([i]) => i)).toEqual(jobs.map((_, i) => i))
    expect(new Set(results.map(([, given]) => given)).size).toBe(1)
  })
})

describe("what is no flow", () => {
  test("a reference inside of an object or a list is refused with its path", async () => {
    on.open()
    const inObject = flow("in object", (f) => f.add(echo.call("x", { order: { paid: f.add(give.call(1)).result } })))
    const error = (await inObject.enqueue().catch((e: unknown) => e)) as PayloadError
    expect(error).toBeInstanceOf(PayloadError)
    expect(error.path).toBe("$[1].order.paid")
    const inList = flow("in list", (f) => f.add(echo.call([f.add(give.call(1)).result])))
    await expect(inList.enqueue()).rejects.toMatchObject({ path: "$[0][0]" })
    const node = flow("node", (f) => f.add(echo.call(f.add(give.call(1)))))
    await expect(node.enqueue()).rejects.toMatchObject({ path: "$[0]" })
    expect(await stored()).toBe(0)
  })

  test("nodes of another flow", () => {
    let foreign: any
    flow("one", (f) => {
      foreign = f.add(give.call(1))
      return foreign
    })
    expect(() => flow("two", (f) => f.add(echo.call(foreign.result)))).toThrow(
      /argument 0 of task "flows.echo" in flow "two" belongs to another flow/,
    )
    expect(() => flow("two", (f) => f.add(echo.call(), { after: [foreign] }))).toThrow(FlowError)
    expect(() => flow("two", (f) => f.add(echo.call(f.all(foreign))))).toThrow(/all\(\) in flow "two" belongs to another flow/)
    expect(() => flow("two", () => foreign)).toThrow(/the returned node in flow "two" belongs to another flow/)
  })

  test("what is no node, no call, no name, no policy", () => {
    expect(() => flow("x", (() => undefined) as never)).toThrow(/the returned node in flow "x" is no node; write what f\.add\(\) returned/)
    expect(() => flow("x", (async (f: any) => f.add(give.call(1))) as never)).toThrow(FlowError)
    expect(() => flow("x", (f) => f.add("give" as never))).toThrow(/which is none; write task\.call/)
    expect(() => flow("x", (f) => f.add(echo.call(), { after: ["a"] as never }))).toThrow(/after of task "flows.echo" in flow "x" is no node/)
    expect(() => flow("", (f) => f.add(echo.call()))).toThrow(/The name of a flow/)
    expect(() => flow("x", (f) => f.add(echo.call(), { onParentFailure: "ignore" as never }))).toThrow(/onParentFailure/)
    expect(() => flow("x", (f) => f.add(echo.call(), { onFailure: "fail" } as never))).toThrow(/onFailure/)
  })

  test("tx and via belong to enqueue(), not to a node", () => {
    const tusk = on.open()
    expect(() => flow("x", (f) => f.add(echo.with({ via: tusk }).call()))).toThrow(/has tx or via; give them to the flow's enqueue\(\)/)
    expect(() => flow("x", (f) => f.add(echo.with({ tx: {} }).call()))).toThrow(FlowError)
  })

  test("more than 10,000 nodes", () => {
    let nodes = 0
    expect(() =>
      flow("huge", (f) => {
        for (;;) {
          f.add(nothing.call())
          nodes++
        }
      }),
    ).toThrow(/Flow "huge" has more than 10000 nodes; make several flows of it/)
    expect(nodes).toBe(10_000)
  })

  test("a parent of a node that does not exist is a FlowError, and nothing is stored", async () => {
    on.open()
    const id = "01900000-0000-7000-8000-000000000000"
    const bad = flow("bad", (f) => {
      f.add(give.call(1))
      return f.add(echo.with({ dependsOn: [id] }).call())
    })
    const error = (await bad.enqueue().catch((e: unknown) => e)) as FlowError
    expect(error).toBeInstanceOf(FlowError)
    expect(error.message).toMatch(new RegExp(`Flow "bad" cannot be stored: .*${id}`))
    expect(await stored()).toBe(0)
  })

  test("a node may depend on a stored job", async () => {
    const tusk = on.open()
    const parent = await give.enqueue("stored")
    const job = await flow("mixed", (f) => f.add(echo.with({ dependsOn: [parent] }).call(f.add(give.call(1)).result))).enqueue()
    await waitFor(async () => (await job.snapshot()).waitingFor.length === 2)
    await tusk.work()
    expect(await job.result(WAIT)).toEqual([1])
  })
})
