import { describe, expect, test } from "vitest"
import { currentJob, task } from "../../src/index.js"
import { waitFor } from "../support/wait.js"
import { eventsOf, ground } from "./ground.js"
import { hostileProxy, thenable } from "./hostile.js"

const g = ground()

/** What a job of this handler came to, and that its worker still works afterwards. */
async function survives(handler: () => unknown, options: { retries?: number } = {}) {
  const queue = g.name("q")
  const hostile = task({ name: g.name("hostile"), queue, backoff: 0, ...options }, handler)
  const good = task({ name: g.name("good"), queue }, () => "alive")
  const worker = await g.work({ queues: { [queue]: 1 } })
  const job = await hostile.enqueue()
  const outcome = await job.settled({ timeout: 10 })
  expect(await (await good.enqueue()).result({ timeout: 10 })).toBe("alive")
  const snapshot = await job.snapshot()
  expect(snapshot.worker).toBe(worker.id)
  return { outcome, snapshot }
}

describe("nothing that a handler throws harms the worker", () => {
  const frozen = Object.freeze(new Error("frozen"))
  const getters = Object.create(Error.prototype, {
    message: {
      get() {
        throw new Error("message")
      },
    },
    stack: {
      get() {
        throw new Error("stack")
      },
    },
    name: {
      get() {
        throw new Error("name")
      },
    },
  })
  const circular: Record<string, unknown> = {}
  circular["self"] = circular
  const revoked = Proxy.revocable({}, {})
  revoked.revoke()
  const cause = new Error("loop")
  cause.cause = cause

  test.each<[string, () => unknown, RegExp]>([
    ["undefined", () => undefined, /no Error was thrown: undefined/],
    ["null", () => null, /no Error was thrown: null/],
    ["a string", () => "boom", /no Error was thrown: "boom"/],
    ["a number", () => Number.NaN, /no Error was thrown: NaN/],
    ["a symbol", () => Symbol("s"), /Symbol\(s\)/],
    ["a function", () => () => {}, /no Error was thrown/],
    ["a frozen error", () => frozen, /^frozen$/],
    ["an error whose getters throw", () => getters, /cannot be read|no Error/],
    ["a circular object", () => circular, /no Error was thrown/],
    ["a Proxy whose traps throw", () => hostileProxy(), /cannot be read/],
    ["a revoked Proxy", () => revoked.proxy, /cannot be read/],
    ["an error that is its own cause", () => cause, /^loop$/],
    ["an error with what Postgres cannot store", () => new Error("a\0b\uD800"), /^a\uFFFDb\uFFFD$/],
    ["an object without a prototype", () => Object.create(null), /no Error was thrown/],
  ])("%s, in a synchronous and in an asynchronous handler", async (_, make, message) => {
    for (const handler of [
      () => {
        throw make()
      },
      async () => {
        throw make()
      },
    ]) {
      const { snapshot } = await survives(handler, { retries: 1 })
      expect(snapshot).toMatchObject({ state: "failed", attempt: 2 })
      expect(snapshot.error!.message).toMatch(message)
    }
  })
})

describe("nothing that a handler returns harms the worker", () => {
  class Account {
    balance = 1
  }
  test.each<[string, () => unknown]>([
    ["a function", () => () => 1],
    ["a class instance", () => new Account()],
    [
      "a circle",
      () => {
        const list: unknown[] = []
        list.push(list)
        return list
      },
    ],
    ["a symbol", () => ({ deep: [Symbol("x")] })],
    [
      "an object whose getter throws",
      () => ({
        get x() {
          throw new Error("getter")
        },
      }),
    ],
    ["text with U+0000", () => "a\0b"],
    ["depth without end", () => Array.from({ length: 50_000 }).reduce((inner) => [inner], 1 as unknown)],
  ])("what cannot be stored fails the job, without a retry: %s", async (_, handler) => {
    const { snapshot } = await survives(async () => handler(), { retries: 3 })
    expect(snapshot).toMatchObject({ state: "failed", attempt: 1 })
    expect(["PayloadError", "Error"]).toContain(snapshot.error!.name)
  })

  test("too large a result fails the job with its size and the limit", async () => {
    const { snapshot } = await survives(() => "x".repeat(2 * 1024 * 1024), { retries: 3 })
    expect(snapshot).toMatchObject({ state: "failed", attempt: 1, error: { name: "PayloadTooLargeError", code: "PAYLOAD_TOO_LARGE" } })
    expect(snapshot.error!.message).toMatch(/2097154 bytes.*1048576.*maxPayloadBytes/)
  })

  test("a thenable that calls back twice, and throws after that, counts once", async () => {
    const then = (resolve: (value: string) => void, reject: (error: unknown) => void): never => {
      resolve("first")
      reject(new Error("second"))
      resolve("third")
      throw new Error("fourth")
    }
    const { outcome } = await survives(() => thenable({ value: then }))
    expect(outcome).toEqual({ ok: true, value: "first" })
  })

  test("a thenable whose then throws, or whose then is a getter that throws, fails its job", async () => {
    const refuse = (): never => {
      throw new Error("no then")
    }
    for (const hostile of [thenable({ value: refuse }), thenable({ get: refuse })]) {
      const { snapshot } = await survives(() => hostile)
      expect(snapshot).toMatchObject({ state: "failed", error: { message: "no then" } })
    }
  })
})

describe("what surrounds a handler may be at fault too", () => {
  test("listeners that throw or reject are logged, and the job completes", async () => {
    const queue = g.name("q")
    const run = task({ name: g.name("t"), queue }, () => "done")
    const tusk = g.open()
    tusk.events.on("*", () => {
      throw new Error("listener threw")
    })
    tusk.events.on("job:completed", (async () => {
      throw new Error("listener rejected")
    }) as () => void)
    const events = eventsOf(tusk)
    await tusk.work({ queues: [queue] })
    expect(await (await run.enqueue()).result({ timeout: 10 })).toBe("done")
    await waitFor(() => g.log.some((line) => line.fields["error"]?.message === "listener rejected"))
    expect(events.map((e) => e.name)).toEqual(["job:added", "job:started", "job:completed"])
    expect(g.log.filter((line) => line.fields["error"]?.message === "listener threw")).toHaveLength(3)
  })

  test("a logger that throws", async () => {
    const queue = g.name("q")
    const run = task({ name: g.name("t"), queue }, (n: number) => n)
    const refuse = (): never => {
      throw new Error("logger")
    }
    const { Tusk } = await import("../../src/index.js")
    const tusk = new Tusk({ connectionString: g.db.url, signals: false, logger: { debug: refuse, info: refuse, warn: refuse, error: refuse } })
    try {
      tusk.events.on("*", refuse)
      await tusk.work({ queues: [queue] })
      const gone = await run.with({ via: tusk }).enqueue(1)
      expect(await gone.result({ timeout: 10 })).toBe(1)
      // An outcome that comes too late is logged.
      let held: ((value: unknown) => void) | undefined
      const slow = task({ name: g.name("slow"), queue }, () => new Promise((resolve) => (held = resolve)))
      const late = await slow.with({ via: tusk }).enqueue()
      await waitFor(() => held !== undefined)
      await g.db.query("update tusk.jobs set lease = nextval('tusk.lease_seq') where id = $1", [late.id])
      held!("late")
      expect(await (await run.with({ via: tusk }).enqueue(2)).result({ timeout: 10 })).toBe(2)
    } finally {
      await tusk.close()
    }
  })

  test("onError and backoff that throw: the stock rules apply", async () => {
    const queue = g.name("q")
    let runs = 0
    const bad = (): never => {
      throw new Error("the decider itself")
    }
    const run = task({ name: g.name("t"), queue, retries: 1, onError: bad, backoff: bad }, () => {
      if (++runs === 1) throw new Error("first")
      return "second"
    })
    await g.work({ queues: [queue] })
    const job = await run.enqueue()
    expect(await job.result({ timeout: 10 })).toBe("second")
  })

  test("a promise that rejects beside the handler, during the run and after it", async () => {
    const queue = g.name("q")
    const stray = task({ name: g.name("t"), queue }, async () => {
      void Promise.reject(new Error("stray"))
      await new Promise((resolve) => setImmediate(resolve))
      return currentJob().id
    })
    const seen: unknown[] = []
    // The test runner counts unhandled rejections of its own; the process fixture shows what becomes of a process.
    const listeners = process.listeners("unhandledRejection")
    process.removeAllListeners("unhandledRejection")
    try {
      await g.work({ queues: [queue] })
      process.on("unhandledRejection", (reason) => seen.push(reason))
      const job = await stray.enqueue()
      expect(await job.result({ timeout: 10 })).toBe(job.id)
      await waitFor(() => g.log.some((line) => line.fields["job"] === job.id))
      expect(g.log.find((line) => line.fields["job"] === job.id)).toMatchObject({ level: "error", fields: { task: stray.taskName } })
      expect(seen).toHaveLength(1)
    } finally {
      process.removeAllListeners("unhandledRejection")
      for (const listener of listeners) process.on("unhandledRejection", listener)
    }
  })
})

describe("rows that somebody wrote in SQL", () => {
  async function insert(queue: string, name: string, columns: Record<string, unknown>): Promise<string> {
    const names = Object.keys(columns)
    const [row] = await g.db.query(
      `insert into tusk.jobs (id, queue, task, ${names.join(", ")}) values (gen_random_uuid(), $1, $2, ${names.map((_, i) => `$${i + 3}`).join(", ")}) returning id`,
      [queue, name, ...Object.values(columns)],
    )
    return row.id
  }

  test("arguments that are no list fail their job at once, and say so", async () => {
    const queue = g.name("q")
    const calls: unknown[][] = []
    const note = task({ name: g.name("t"), queue, retries: 3 }, (...args: unknown[]) => void calls.push(args))
    const tusk = g.open()
    await tusk.work({ queues: [queue], poll: "100ms" })
    for (const args of ['"text"', '{"to": "a"}', "5", "null", "true"]) {
      const id = await insert(queue, note.taskName, { args, max_attempts: 4 })
      await tusk.job(id).settled({ timeout: 10 })
      const row = await g.row(id)
      expect(row).toMatchObject({ state: "failed", attempt: 1, error: { name: "PayloadError" } })
      expect(row["error"].message).toMatch(/which is no list.*JSON array/)
    }
    expect(calls).toEqual([])
    const good = await insert(queue, note.taskName, { args: '["fine"]' })
    expect(await tusk.job(good).settled({ timeout: 10 })).toMatchObject({ ok: true })
    expect(calls).toEqual([["fine"]])
  })

  const RUBBISH = [
    "[]",
    '"text"',
    "5",
    "null",
    '{"timeoutMs": "soon", "backoff": "never", "keep": "always", "maxCrashes": "many", "repeat": "often"}',
    '{"timeoutMs": -5, "backoff": {"steps": []}, "keep": {"completed": -1, "failed": "1d"}, "maxCrashes": -3, "repeat": {"everyMs": "often"}}',
    '{"timeoutMs": {}, "backoff": {"fixed": "x"}, "keep": {"completed": 1e300, "failed": 1e300}, "maxCrashes": 1e300}',
    '{"keep": {"completed": null, "failed": null}, "maxCrashes": null, "budget": "x", "ttl": "y", "backoff": null}',
    '{"keep": [1, 2], "backoff": [1], "maxCrashes": [], "repeat": [], "timeoutMs": []}',
  ]

  test("rubbish in options decides nothing: jobs complete, and are retried, by the task's rules", async () => {
    const queue = g.name("q")
    const flaky = task({ name: g.name("t"), queue, retries: 1, backoff: 0, keep: { completed: "1d" } }, () => {
      if (currentJob().attempt === 1) throw new Error("once")
      return "done"
    })
    const tusk = g.open()
    await tusk.work({ queues: [queue], poll: "100ms" })
    const ids = await Promise.all(RUBBISH.map((options) => insert(queue, flaky.taskName, { args: "[]", options, max_attempts: 2 })))
    for (const [i, id] of ids.entries()) {
      expect(await tusk.job(id).settled({ timeout: 10 }), RUBBISH[i]!).toEqual({ ok: true, value: "done" })
    }
  })

  test("rubbish in options holds up neither failing, expiring, cancelling, retrying nor rescuing of others", async () => {
    const queue = g.name("q")
    const fail = task({ name: g.name("t"), queue }, () => {
      throw new Error("x")
    })
    const tusk = g.open()
    const failing = await Promise.all(RUBBISH.map((options) => insert(queue, fail.taskName, { args: "[]", options })))
    const worker = await tusk.work({ queues: [queue], poll: "100ms" })
    for (const id of failing) expect(await tusk.job(id).settled({ timeout: 10 })).toMatchObject({ error: { code: "JOB_FAILED" } })
    await worker.stop()
    for (const id of failing) expect(await tusk.job(id).retry()).toBe(true)
    for (const id of failing) expect(await tusk.job(id).cancel()).toBe(true)

    const elsewhere = g.name("q")
    const expiring = await Promise.all(
      RUBBISH.map((options) => insert(elsewhere, "nobody", { args: "[]", options, expires_at: new Date(0), run_at: new Date(0) })),
    )
    const dead = crypto.randomUUID()
    const orphans = await Promise.all(
      RUBBISH.map((options) =>
        insert(elsewhere, "nobody", { args: "[]", options, state: "active", lease: 1, worker_id: dead, attempt: 1, started_at: new Date() }),
      ),
    )
    await tusk.work({ queues: [queue], poll: "100ms" })
    for (const id of expiring) expect(await tusk.job(id).settled({ timeout: 10 })).toMatchObject({ error: { code: "JOB_EXPIRED" } })
    // A maxCrashes of nothing, or less, is none left.
    await waitFor(async () => (await g.counts(elsewhere)).active === undefined)
    for (const id of orphans) expect(["waiting", "failed"]).toContain(await tusk.job(id).state())
  })

  test("jobs that are active under a worker without a row are found while another lives, not only when it starts", async () => {
    const queue = g.name("q")
    const tusk = g.open()
    await tusk.work({ queues: [queue], lease: 1, poll: "100ms" })
    const known = task({ name: g.name("known"), queue }, () => "ran")
    await (await known.enqueue()).result({ timeout: 10 })
    const orphan = await insert(queue, known.taskName, {
      args: "[]",
      state: "active",
      lease: 1,
      worker_id: crypto.randomUUID(),
      attempt: 1,
      started_at: new Date(),
    })
    expect(await tusk.job(orphan).result({ timeout: 20 })).toBe("ran")
  })
})
