/** Handlers, middlewares, hooks and listeners run in the async context of `work()` or `on()`, never in that of a caller or of another job. */
import { AsyncLocalStorage } from "node:async_hooks"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { describe, expect, test } from "vitest"
import { currentJob, type Job, type Logger, Tusk, task } from "../../src/index.js"
import { deferred, waitFor } from "../support/wait.js"
import { ground, reaches } from "./ground.js"

const on = ground()
const context = new AsyncLocalStorage<{ of: string }>()
const here = (): string | undefined => context.getStore()?.of
/** What saw which context. */
let seen: [what: string, of: string | undefined][] = []
const note = (what: string): void => void seen.push([what, here()])
const request = <T>(of: string, work: () => T): T => context.run({ of }, work)
const worker = <T>(work: () => T): T => context.run({ of: "work()" }, work)
const of = (what: string): (string | undefined)[] => seen.filter(([w]) => w === what).map(([, o]) => o)

const queue = "context"
const simple = task({ name: "context.simple", queue }, async (label: string) => {
  note("handler")
  await null
  note("handler")
  return label
})
const limited = task({ name: "context.limited", queue, concurrency: { limit: 1 } }, () => note("handler"))
const transactional = task({ name: "context.tx", queue, transactional: true }, async () => note("handler"))
let failures = 0
const failing = task(
  {
    name: "context.failing",
    queue,
    retries: 3,
    backoff: () => {
      note("backoff")
      return 0
    },
    onError: () => {
      note("onError")
      return undefined as never
    },
  },
  async () => {
    note("handler")
    if (failures++ < 1) throw new Error("once")
  },
)

/** A worker in a context of its own, with all hooks. */
async function start(more: { logger?: Logger } = {}) {
  seen = []
  const tusk = more.logger === undefined ? on.open() : new Tusk({ connectionString: on.db.url, signals: false, logger: more.logger })
  tusk.use(async (_, next) => {
    note("middleware")
    return next()
  })
  const handle = await worker(() =>
    tusk.work({ queues: { [queue]: 5 }, poll: 60, onStart: () => note("onStart"), onStop: () => note("onStop"), drainTimeout: 2 }),
  )
  return { tusk, handle }
}

describe("a handler", () => {
  test("runs in the context of work(), whoever enqueues, and so do middlewares and hooks", async () => {
    const { tusk, handle } = await start()
    failures = 0
    const onEnqueue: (string | undefined)[] = []
    tusk.onEnqueue(async (_, next) => {
      onEnqueue.push(here())
      await next()
    })
    const users = ["ada", "bob", "eve"]
    const via = { via: tusk }
    const continued = await Promise.all(
      users.map((user) =>
        request(user, async () => {
          const jobs: Job<any>[] = [
            await simple.with(via).enqueue(user),
            await limited.with(via).enqueue(),
            await transactional.with(via).enqueue(),
            await failing.with(via).enqueue(),
            await simple.with({ ...via, delay: 0.05 }).enqueue(user),
          ]
          jobs.push(await simple.with({ ...via, dependsOn: [jobs[0]!] }).enqueue(user))
          jobs.push(await tusk.transaction((tx) => simple.with({ ...via, tx }).enqueue(user)))
          const before = here()
          for (const job of jobs) await job.result()
          for await (const _ of jobs[0]!.events()) break
          return [before, here()]
        }),
      ),
    )
    // Each caller goes on in his own.
    expect(continued).toEqual(users.map((user) => [user, user]))
    expect(new Set(onEnqueue)).toEqual(new Set(users))
    await request("mia", () => handle.drain())
    for (const what of ["handler", "middleware", "backoff", "onError", "onStart", "onStop"])
      expect([what, ...new Set(of(what))]).toEqual([what, "work()"])
  })

  test("runs there whatever woke the worker: a resume, a promotion, a retry, another queue's settings, a redrive", async () => {
    const { tusk, handle } = await start()
    const via = { via: tusk }
    const done = async (job: Job<any>): Promise<void> => void (await request("waiter", () => job.result()))
    const delayed = await simple.with({ ...via, delay: "1h" }).enqueue("x")
    await request("promoter", () => delayed.promote())
    await done(delayed)
    const cancelled = await simple.with({ ...via, delay: "1h" }).enqueue("x")
    await request("canceller", () => cancelled.cancel())
    await request("retrier", () => cancelled.retry())
    await done(cancelled)
    await request("pauser", async () => {
      await tusk.queue(queue).pause()
      handle.pause()
    })
    const paused = await request("enqueuer", () => simple.with(via).enqueue("x"))
    await request("resumer", async () => {
      handle.resume()
      await tusk.queue(queue).resume()
    })
    await done(paused)
    await request("settings", () => tusk.queue(queue).configure({ concurrency: 2 }))
    await done(await request("enqueuer", () => simple.with(via).enqueue("x")))
    await request("settings", () => tusk.queue(queue).configure({ concurrency: null }))
    expect(new Set(of("handler"))).toEqual(new Set(["work()"]))
    await request("stopper", () => handle.stop())
    expect(of("onStop")).toEqual(["work()"])
  })

  test("that enters a context leaves it to itself: neither the jobs after it nor the worker are in it", async () => {
    const { tusk } = await start()
    const entering = task({ name: "context.entering", queue }, (n: number) => {
      note("entering")
      context.enterWith({ of: `job ${n}` })
      if (n % 3 === 0) throw new Error("on purpose")
      return n % 2 === 0 ? n : Promise.resolve().then(() => note("inside"))
    })
    const jobs = await Promise.all(Array.from({ length: 30 }, (_, n) => entering.with({ via: tusk }).enqueue(n)))
    await Promise.all(jobs.map((job) => job.settled()))
    expect(new Set(of("entering"))).toEqual(new Set(["work()"]))
    expect(of("inside").every((o) => o?.startsWith("job "))).toBe(true)
    expect(here()).toBeUndefined()
  })

  test("hears of a cancel in its own context, with its job at hand", async () => {
    const { tusk } = await start()
    const started = deferred()
    const heard = deferred<[string | undefined, string]>()
    const waiting = task({ name: "context.waiting", queue }, async () => {
      const { signal } = currentJob()
      signal.addEventListener("abort", () => heard.resolve([here(), currentJob().id]))
      started.resolve()
      await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)))
    })
    const job = await waiting.with({ via: tusk }).enqueue()
    await started.promise
    await request("canceller", () => job.cancel())
    expect(await heard.promise).toEqual(["work()", job.id])
  })
})

test("a listener runs in the context of on(), and a reader of events in its own", async () => {
  const { tusk } = await start()
  const read: (string | undefined)[] = []
  const aborter = new AbortController()
  const first = request("first", () => tusk.events.on("*", () => note("first")))
  const second = request("second", () => tusk.events.on("job:completed", () => note("second")))
  const reader = request("reader", async () => {
    for await (const _ of tusk.events.iterate({ signal: aborter.signal })) read.push(here())
  })
  await Promise.all([first.ready, second.ready])
  for (const user of ["ada", "bob"]) await reaches(await request(user, () => simple.with({ via: tusk }).enqueue(user)), "completed")
  await waitFor(() => of("second").length === 2 && read.length >= 4, { what: "the events" })
  aborter.abort()
  await reader
  expect(new Set(of("first"))).toEqual(new Set(["first"]))
  expect(new Set(of("second"))).toEqual(new Set(["second"]))
  expect(new Set(read)).toEqual(new Set(["reader"]))
})

describe("what calls share", () => {
  test("logs in no caller's context", async () => {
    const logged: (string | undefined)[] = []
    const write = (): void => void logged.push(here())
    const logger: Logger = { debug: write, info: write, warn: write, error: write }
    const tusk = new Tusk({ connectionString: on.db.url, signals: false, logger })
    await Promise.all(["ada", "bob"].map((user) => request(user, () => simple.with({ via: tusk, wake: "poll" }).enqueue(user))))
    // Connections are lost: the pool says so, and the listener connects anew.
    const waiting = request("waiter", () => tusk.job("00000000-0000-7000-8000-000000000000").settled())
    await waiting.catch(() => undefined)
    await on.db.query("select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'pgtusk%' and datname = current_database()")
    await waitFor(() => logged.length > 0, { what: "a line of the log" })
    await request("eve", () => simple.with({ via: tusk }).enqueue("eve"))
    expect(new Set(logged)).toEqual(new Set([undefined]))
    await tusk.close()
  })

  test("keeps nothing of the first caller alive", async () => {
    setFlagsFromString("--expose-gc")
    const gc = runInNewContext("gc") as () => void
    const tusk = new Tusk({ connectionString: on.db.url, signals: false })
    const weak = await (async () => {
      const store = { of: "first", memory: new Array(1_000) }
      await context.run(store, async () => {
        const job = await simple.with({ via: tusk, delay: "1h" }).enqueue("x")
        await Promise.all([job.state(), job.snapshot(), tusk.queues(), job.result({ timeout: 0.01 }).catch(() => undefined)])
        const off = tusk.events.on("*", () => undefined)
        await off.ready
        off()
        await job.cancel()
      })
      return new WeakRef(store)
    })()
    await waitFor(
      () => {
        gc()
        return weak.deref() === undefined
      },
      { what: "the context to be collected, while the client is open" },
    )
    await tusk.close()
  })
})
