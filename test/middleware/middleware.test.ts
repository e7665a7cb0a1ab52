/** Functions around every execution and every enqueue, and the hooks of a worker's life. */
import { describe, expect, test } from "vitest"
import { type CurrentJob, currentJob, InvalidOptionError, NonRetryableError, snooze, TuskError, task, type Worker } from "../../src/index.js"
import { compose } from "../../src/lib/middleware.js"
import { waitFor } from "../support/wait.js"
import { eventsOf, Gate, ground, reaches } from "../worker/ground.js"

const on = ground()

/** A task of its own queue. */
function own(handler: (...args: any[]) => unknown = (...args) => args, options: object = {}) {
  const name = on.name("own")
  return { name, own: task({ name, queue: name, ...options }, handler) }
}

describe("compose", () => {
  const noting =
    (log: string[], label: string) =>
    async (_: unknown, next: () => Promise<unknown>): Promise<unknown> => {
      log.push(`${label} in`)
      const value = await next()
      log.push(`${label} out`)
      return `${label}(${String(value)})`
    }

  test("the first is the outermost", async () => {
    const log: string[] = []
    const core = async (): Promise<string> => {
      log.push("core")
      return "value"
    }
    expect(await compose([noting(log, "a"), noting(log, "b"), noting(log, "c")], {}, core)).toBe("a(b(c(value)))")
    expect(log).toEqual(["a in", "b in", "c in", "core", "c out", "b out", "a out"])
  })

  test("none of them: the core alone", async () => {
    expect(await compose([], {}, async () => 1)).toBe(1)
  })

  test("next() twice is an error, and runs nothing twice", async () => {
    let runs = 0
    const twice = async (_: unknown, next: () => Promise<unknown>): Promise<unknown> => {
      await next()
      return next()
    }
    await expect(compose([twice], {}, async () => ++runs)).rejects.toMatchObject({ code: "NEXT_TWICE", message: /called next\(\) twice/ })
    const atOnce = (_: unknown, next: () => Promise<unknown>): Promise<unknown> => Promise.all([next(), next()])
    await expect(compose([atOnce], {}, async () => ++runs)).rejects.toBeInstanceOf(TuskError)
    expect(runs).toBe(2)
  })

  test("one that throws at once rejects next() of the one around it", async () => {
    const log: string[] = []
    const outer = (_: unknown, next: () => Promise<unknown>): Promise<unknown> =>
      next().catch((error: Error) => {
        log.push(error.message)
        return "caught"
      })
    const inner = (): Promise<unknown> => {
      throw new Error("at once")
    }
    expect(await compose([outer, inner], {}, async () => 1)).toBe("caught")
    await expect(compose([inner, outer], {}, async () => 1)).rejects.toThrow("at once")
    expect(log).toEqual(["at once"])
  })

  test("one that is no async function and returns nothing", async () => {
    const outer = (_: unknown, next: () => Promise<unknown>): Promise<unknown> => next().then((value) => `got ${String(value)}`)
    expect(await compose([outer, (() => undefined) as never], {}, async () => 1)).toBe("got undefined")
  })
})

describe("use()", () => {
  test("wraps every execution: it sees the job, and its result is what the last returns", async () => {
    const tusk = on.open()
    const { name, own: echo } = own()
    const log: string[] = []
    const seen: CurrentJob[] = []
    for (const label of ["a", "b"]) {
      tusk.use(async (job, next) => {
        seen.push(job)
        log.push(`${label} in`)
        const value = await next()
        log.push(`${label} out`)
        return { [label]: value }
      })
    }
    await tusk.work({ queues: [name] })
    const job = await echo.with({ headers: { trace: "t" } }).enqueue(1, 2)
    expect(await job.result()).toEqual({ a: { b: [1, 2] } })
    expect(log).toEqual(["a in", "b in", "b out", "a out"])
    expect(seen[0]).toMatchObject({ id: job.id, task: name, queue: name, args: [1, 2], attempt: 1, headers: { trace: "t" } })
    expect(seen[1]!.signal).toBe(seen[0]!.signal)
  })

  test("currentJob() is at hand in it", async () => {
    const tusk = on.open()
    const { name, own: echo } = own()
    tusk.use(async (job, next) => [currentJob() === job, await next()])
    await tusk.work({ queues: [name] })
    expect(await (await echo.enqueue("x")).result()).toEqual([true, ["x"]])
  })

  test("the handler's errors pass through it: it may change them, or make a success of them", async () => {
    const tusk = on.open()
    const { name, own: fails } = own(
      (how: string) => {
        throw new Error(how)
      },
      { retries: 3, backoff: 0 },
    )
    tusk.use(async (_, next) => {
      try {
        return await next()
      } catch (error) {
        if ((error as Error).message === "forgive") return "forgiven"
        if ((error as Error).message === "final") throw new NonRetryableError("made final", { cause: error })
        throw error
      }
    })
    await tusk.work({ queues: [name] })
    expect(await (await fails.enqueue("forgive")).result()).toBe("forgiven")
    const final = await fails.enqueue("final")
    await reaches(final, "failed")
    expect(await final.snapshot()).toMatchObject({ attempt: 1, error: { name: "NonRetryableError", message: "made final" } })
    const plain = await fails.enqueue("plain")
    await reaches(plain, "failed")
    expect((await plain.snapshot()).attempts).toHaveLength(4)
  })

  test("its own errors count as the handler's", async () => {
    const tusk = on.open()
    const runs: number[] = []
    const { name, own: fine } = own(() => runs.push(1), { retries: 1, backoff: 0 })
    let first = true
    tusk.use((_, next) => {
      if (first) {
        first = false
        throw new Error("the middleware's")
      }
      return next()
    })
    await tusk.work({ queues: [name] })
    const job = await fine.enqueue()
    await job.result()
    const { attempts } = await job.snapshot()
    expect(attempts.map((attempt) => attempt.error?.message ?? null)).toEqual(["the middleware's", null])
    expect(runs).toHaveLength(1)
  })

  test("snooze() passes through it, and it may snooze itself", async () => {
    const tusk = on.open()
    let runs = 0
    const { name, own: once } = own(() => ++runs)
    let snoozed = false
    tusk.use(async (_, next) => {
      if (!snoozed) {
        snoozed = true
        snooze("10ms")
      }
      return next()
    })
    await tusk.work({ queues: [name] })
    const job = await once.enqueue()
    expect(await job.result()).toBe(1)
    expect(await job.snapshot()).toMatchObject({ attempt: 1 })
  })

  test("one that does not call next() keeps the handler from running; what it returns is the result", async () => {
    const tusk = on.open()
    let runs = 0
    const { name, own: never } = own(() => ++runs)
    tusk.use(async () => "skipped")
    await tusk.work({ queues: [name] })
    expect([await (await never.enqueue()).result(), runs]).toEqual(["skipped", 0])
  })

  test("next() twice fails the job, and the handler runs once", async () => {
    const tusk = on.open()
    let runs = 0
    const { name, own: once } = own(() => ++runs)
    tusk.use(async (_, next) => {
      await next()
      return next()
    })
    await tusk.work({ queues: [name] })
    const job = await once.enqueue()
    await reaches(job, "failed")
    expect((await job.snapshot()).error).toMatchObject({ code: "NEXT_TWICE" })
    expect(runs).toBe(1)
  })

  test("one that is given while a worker runs counts from the next job on", async () => {
    const tusk = on.open()
    const gate = new Gate()
    const { name, own: held } = own(async (label: string) => {
      await gate.pass(label)
      return label
    })
    await tusk.work({ queues: [name] })
    const first = await held.enqueue("first")
    await waitFor(() => gate.arrived.length === 1)
    expect(tusk.use(async (_, next) => `wrapped ${String(await next())}`)).toBe(tusk)
    gate.open()
    expect([await first.result(), await (await held.enqueue("second")).result()]).toEqual(["first", "wrapped second"])
  })

  test("concerns this client's workers only", async () => {
    const other = on.open()
    const tusk = on.open()
    tusk.use(async () => "wrapped")
    const { name, own: plain } = own(() => "plain")
    await other.work({ queues: [name] })
    expect(await (await plain.enqueue()).result()).toBe("plain")
  })

  test("around a transactional handler: its failure rolls the handler's writes back, and it may use the transaction", async () => {
    const tusk = on.open()
    const { name, own: writes } = own(async (label: string) => void (await currentJob().tx.query("insert into notes values ($1)", [label])), {
      transactional: true,
    })
    await on.db.query("create table notes (label text)")
    tusk.use(async (job, next) => {
      await job.tx.query("insert into notes values ('before')")
      await next()
      if (job.args[0] === "bad") throw new Error("after the handler")
    })
    await tusk.work({ queues: [name] })
    await reaches(await writes.enqueue("bad"), "failed")
    expect(await on.db.query("select * from notes")).toEqual([])
    await (await writes.enqueue("good")).result()
    expect(await on.db.query("select * from notes")).toEqual([{ label: "before" }, { label: "good" }])
  })

  test("needs a function", () => {
    const tusk = on.open()
    expect(() => tusk.use("log" as never)).toThrow(InvalidOptionError)
    expect(() => tusk.onEnqueue(undefined as never)).toThrow(/needs a function/)
  })
})

describe("onEnqueue()", () => {
  test("the first is the outermost, and each sees what those around it made of the job", async () => {
    const tusk = on.open()
    const { name, own: echo } = own()
    const log: string[] = []
    for (const label of ["a", "b"]) {
      tusk.onEnqueue(async (draft, next) => {
        log.push(`${label} in ${JSON.stringify([draft.task, draft.args, draft.options.headers ?? {}])}`)
        draft.args = [...draft.args, label]
        draft.options = { ...draft.options, headers: { ...draft.options.headers, [label]: "was here" } }
        await next()
        log.push(`${label} out`)
      })
    }
    const job = await echo.with({ headers: { own: "x" }, priority: 3 }).enqueue(1)
    expect(await job.snapshot()).toMatchObject({ args: [1, "a", "b"], headers: { own: "x", a: "was here", b: "was here" }, priority: 3, queue: name })
    expect(log).toEqual([`a in ["${name}",[1],{"own":"x"}]`, `b in ["${name}",[1,"a"],{"own":"x","a":"was here"}]`, "b out", "a out"])
  })

  test("replaced arguments and options are checked as the caller's are", async () => {
    const tusk = on.open()
    const { name, own: echo } = own()
    let change: (draft: any) => void = () => {}
    tusk.onEnqueue(async (draft, next) => {
      change(draft)
      await next()
    })
    change = (draft) => {
      draft.args = [() => 1]
    }
    await expect(echo.enqueue(1)).rejects.toMatchObject({ code: "PAYLOAD", path: "$[0]" })
    change = (draft) => {
      draft.options = { prioritty: 1 }
    }
    await expect(echo.enqueue(1)).rejects.toThrow(/did you mean "priority"/)
    change = (draft) => {
      draft.options = { ...draft.options, queue: `${name}-moved`, delay: 60 }
    }
    expect(await (await echo.enqueue(1)).snapshot()).toMatchObject({ queue: `${name}-moved`, state: "delayed" })
  })

  test("one that throws, or does not call next(), refuses the job: nothing is stored", async () => {
    const tusk = on.open()
    const { name, own: echo } = own()
    tusk.onEnqueue(async (draft, next) => {
      if (draft.args[0] === "throw") throw new RangeError("quota")
      if (draft.args[0] !== "drop") await next()
    })
    await expect(echo.enqueue("throw")).rejects.toThrow(RangeError)
    await expect(echo.enqueue("drop")).rejects.toMatchObject({ code: "ENQUEUE_REFUSED", message: expect.stringContaining(name) })
    // One of a call refused: all of it.
    await expect(echo.enqueueMany([["good"], ["drop"]])).rejects.toMatchObject({ code: "ENQUEUE_REFUSED" })
    expect(await on.counts(name)).toEqual({})
    await echo.enqueueMany([["good"], ["fine"]])
    expect(await on.counts(name)).toEqual({ waiting: 2 })
  })

  test("sees each job of a call, of a flow, by name, and in a transaction", async () => {
    const tusk = on.open()
    const { name, own: echo } = own()
    const seen: unknown[] = []
    tusk.onEnqueue(async (draft, next) => {
      seen.push(draft.args[0])
      await next()
    })
    await echo.enqueueMany([["many 1"], ["many 2"]])
    await tusk.enqueueMany([echo.call("call")])
    await tusk.enqueue(name, ["by name"], { queue: name })
    await tusk.addFlow([{ id: "a", task: name, args: ["flow"] }])
    await tusk.transaction((tx) => echo.with({ tx }).enqueue("tx"))
    expect(seen).toEqual(["many 1", "many 2", "call", "by name", "flow", "tx"])
    expect(await on.counts(name)).toEqual({ waiting: 6 })
  })

  test("may wait: a slow one holds up its own call, and the order of others is theirs", async () => {
    const tusk = on.open()
    const { name, own: echo } = own()
    const gate = new Gate()
    tusk.onEnqueue(async (draft, next) => {
      if (draft.args[0] === "slow") await gate.pass("slow")
      await next()
    })
    const slow = echo.enqueue("slow")
    await echo.enqueue("quick")
    expect(await on.counts(name)).toEqual({ waiting: 1 })
    gate.open()
    await slow
    expect(await on.counts(name)).toEqual({ waiting: 2 })
  })
})

describe("onStart and onStop", () => {
  test("onStart runs before the first claim, onStop after the last job", async () => {
    const tusk = on.open()
    const log: string[] = []
    const gate = new Gate()
    const { name, own: held } = own(async (label: string) => {
      log.push(`began ${label}`)
      await gate.pass(label)
      log.push(`ended ${label}`)
    })
    await held.enqueue("a")
    let given: Worker | undefined
    const starting = new Gate()
    const working = tusk.work({
      queues: [name],
      drainTimeout: 10,
      onStart: async (worker) => {
        given = worker
        await starting.pass("start")
        log.push("onStart")
      },
      onStop: async (worker) => {
        log.push(`onStop ${worker === given}`)
      },
    })
    await waitFor(() => starting.arrived.length === 1)
    // Registered, yet nothing is claimed while the hook runs.
    await waitFor(async () => (await tusk.workers()).length === 1)
    expect(await on.counts(name)).toEqual({ waiting: 1 })
    starting.open()
    const worker = await working
    expect(given).toBe(worker)
    await waitFor(() => gate.arrived.length === 1)
    const drained = worker.drain()
    gate.open()
    await drained
    expect(log).toEqual(["onStart", "began a", "ended a", "onStop true"])
    await worker.stopped
  })

  test("an onStart that throws stops the start: its error is thrown, nothing was claimed, no worker is left", async () => {
    const tusk = on.open()
    const { name, own: echo } = own()
    const job = await echo.enqueue(1)
    let stopped = 0
    const start = tusk.work({
      queues: [name],
      onStart: () => {
        throw new RangeError("no licence")
      },
      onStop: () => void stopped++,
    })
    await expect(start).rejects.toThrow(new RangeError("no licence"))
    expect([await job.state(), await tusk.workers(), stopped]).toEqual(["waiting", [], 0])
    // The client can go on.
    await tusk.work({ queues: [name] })
    expect(await job.result()).toEqual([1])
  })

  test("an onStop that throws is logged, and the worker stops all the same", async () => {
    const tusk = on.open()
    const { name } = own()
    const worker = await tusk.work({
      queues: [name],
      onStop: async () => {
        throw new Error("cannot say goodbye")
      },
    })
    await worker.drain()
    await worker.stopped
    expect(on.log.find((line) => line.message === "onStop threw")?.fields["error"]).toMatchObject({ message: "cannot say goodbye" })
    expect(await tusk.workers()).toEqual([])
  })

  test("an onStart that stops its own worker", async () => {
    const tusk = on.open()
    const { name, own: echo } = own()
    const job = await echo.enqueue(1)
    const worker = await tusk.work({ queues: [name], onStart: (started) => void started.stop() }).catch((error: unknown) => error as Error)
    if (!(worker instanceof Error)) await worker.stopped
    expect(await job.state()).toBe("waiting")
    expect(await tusk.workers()).toEqual([])
  })

  test("what both wrap is announced to nobody: a refused start makes no event", async () => {
    const tusk = on.open()
    const events = eventsOf(tusk)
    const { name, own: echo } = own()
    await echo.enqueue(1)
    await expect(tusk.work({ queues: [name], onStart: () => Promise.reject(new Error("no")) })).rejects.toThrow("no")
    expect(events.map((event) => event.name)).toEqual(["job:added"])
  })
})
