import { describe, expect, test } from "vitest"
import { currentJob, task, type Worker } from "../../src/index.js"
import { deferred, waitFor } from "../support/wait.js"
import { Gate, ground, reaches } from "./ground.js"
import { enqueue, workerProcess } from "./processes.js"

const g = ground()

describe.each(["SIGTERM", "SIGINT"] as const)("%s", (signal) => {
  test("drains: what runs ends, what was not started goes back, and the process ends by the signal", async () => {
    const queue = g.name("q")
    const tusk = g.open()
    const worker = await workerProcess(g.db.url, { queue, options: { queues: { [queue]: 1 } } })
    const running = await enqueue(tusk, queue, "hold")
    await worker.line(`began ${running.id}`)
    const waiting = await enqueue(tusk, queue, "hold")
    worker.kill(signal)
    // Before the slot is free: a word on another way may be heard sooner than the signal.
    await worker.line(`log info ${signal}: the worker claims no more`)
    worker.send("open")
    expect(await worker.exit).toEqual({ code: null, signal })
    expect(worker.lines.at(-1)).toBe("stopped")
    expect(await running.result({ timeout: 5 })).toBe(worker.pid)
    expect(await waiting.snapshot()).toMatchObject({ state: "waiting", attempt: 0, attempts: [] })
    expect(await g.db.query("select 1 from tusk.workers where id = $1", [worker.workerId])).toEqual([])
  })

  test("leaves the end of the process to an application that listens too", async () => {
    for (const listenFirst of [false, true]) {
      const queue = g.name("q")
      const worker = await workerProcess(g.db.url, { queue, listen: signal, listenFirst })
      worker.kill(signal)
      await worker.line("application heard")
      await worker.line("stopped")
      // It still answers: it was not killed.
      worker.send("close")
      expect(await worker.exit).toEqual({ code: 0, signal: null })
    }
  })
})

describe("a signal", () => {
  test("a second time ends the process at once", async () => {
    const queue = g.name("q")
    const tusk = g.open()
    const worker = await workerProcess(g.db.url, { queue })
    const job = await enqueue(tusk, queue, "ignore")
    await worker.line(`began ${job.id}`)
    worker.kill("SIGTERM")
    worker.kill("SIGINT")
    expect((await worker.exit).signal).toMatch(/SIG(TERM|INT)/)
    await reaches(job, "active")
  })

  test("after drainTimeout aborts what runs: it goes back, uses no attempt, and the process ends", async () => {
    const queue = g.name("q")
    const tusk = g.open()
    const worker = await workerProcess(g.db.url, { queue, options: { queues: { [queue]: 5 }, drainTimeout: "200ms" } })
    const job = await enqueue(tusk, queue, "hold")
    await worker.line(`began ${job.id}`)
    worker.kill("SIGTERM")
    await worker.line(`aborted ${job.id} WorkerShutdownError`)
    expect(await worker.exit).toEqual({ code: null, signal: "SIGTERM" })
    expect(await job.snapshot()).toMatchObject({ state: "waiting", attempt: 0, maxAttempts: 1, attempts: [] })
  })

  test("is nothing to a worker with signals: false", async () => {
    const queue = g.name("q")
    const worker = await workerProcess(g.db.url, { queue, client: { signals: false } })
    worker.kill("SIGTERM")
    expect(await worker.exit).toEqual({ code: null, signal: "SIGTERM" })
    expect(worker.lines).not.toContain("stopped")
  })
})

/** A worker with one running job, which heeds its signal or not. */
async function busy(heeds: boolean, options: { drainTimeout?: number } = {}) {
  const queue = g.name("q")
  const gate = new Gate()
  const reasons: unknown[] = []
  const run = task({ name: g.name("t"), queue }, async () => {
    const { signal } = currentJob()
    signal.addEventListener("abort", () => reasons.push(signal.reason))
    await gate.pass("x", heeds ? signal : undefined)
    return "done"
  })
  const stops: Worker[] = []
  const worker = await g.work({ queues: [queue], onStop: (w) => stops.push(w), ...options })
  const job = await run.enqueue()
  await waitFor(() => gate.arrived.length === 1)
  return { queue, gate, reasons, run, worker, job, stops }
}

describe("drain() and stop()", () => {
  test("drain waits for what runs and claims no more; called again it is the same drain", async () => {
    const { gate, worker, job, run, stops } = await busy(true, { drainTimeout: 60 })
    const draining = Promise.all([worker.drain(), worker.drain()])
    const late = await run.enqueue()
    gate.open()
    await draining
    await worker.stopped
    expect(await job.state()).toBe("completed")
    expect(await late.state()).toBe("waiting")
    expect(stops).toEqual([worker])
  })

  test("stop aborts at once, and the job uses no attempt", async () => {
    const { worker, job, reasons } = await busy(true)
    await worker.stop()
    expect(reasons).toEqual([expect.objectContaining({ code: "WORKER_SHUTDOWN" })])
    expect(await job.snapshot()).toMatchObject({ state: "waiting", attempt: 0 })
  })

  test("stop cuts a drain short", async () => {
    const { worker, job } = await busy(true, { drainTimeout: 60 })
    const draining = worker.drain()
    await worker.stop()
    await draining
    expect(await job.state()).toBe("waiting")
  })

  test("a handler that ignores the abort does not keep the worker: its job goes back, and its late result is fenced off", async () => {
    const { worker, job, gate } = await busy(false)
    await worker.stop()
    expect(await job.state()).toBe("waiting")
    gate.open()
    const other = await g.work({ queues: [job.queue] })
    expect(await job.result({ timeout: 10 })).toBe("done")
    expect(await job.snapshot()).toMatchObject({ attempt: 1, worker: other.id })
  })

  test("one that ends in spite of the abort has completed", async () => {
    const { worker, job, gate, reasons } = await busy(false)
    const stopping = worker.stop()
    await waitFor(() => reasons.length === 1)
    gate.open()
    await stopping
    expect(await job.snapshot()).toMatchObject({ state: "completed", result: "done" })
  })

  test("await using drains", async () => {
    const { queue, gate, run } = await busy(true)
    {
      await using inner = await g.work({ queues: [queue] })
      gate.open()
      await (await run.enqueue()).result({ timeout: 10 })
      expect(inner.id).toBeTypeOf("string")
    }
    expect(await g.db.query("select count(*)::int as n from tusk.workers where $1 = any (queues)", [queue])).toEqual([{ n: 1 }])
  })

  test("closing the client drains its workers", async () => {
    const queue = g.name("q")
    const gate = deferred()
    const run = task({ name: g.name("t"), queue }, () => gate.promise)
    const tusk = g.open()
    const worker = await tusk.work({ queues: [queue] })
    const job = await run.enqueue()
    await reaches(job, "active")
    const closing = tusk.close()
    gate.resolve()
    await closing
    await worker.stopped
    expect(await g.counts(queue)).toEqual({ completed: 1 })
  })
})

describe("onStart and onStop", () => {
  test("onStart that throws stops the start and leaves nothing behind", async () => {
    const queue = g.name("q")
    const onStop = g.name()
    const stops: string[] = []
    const starting = g.work({
      queues: [queue],
      onStart: async () => {
        throw new Error("not today")
      },
      onStop: () => stops.push(onStop),
    })
    await expect(starting).rejects.toThrow("not today")
    expect(await g.db.query("select 1 from tusk.workers where $1 = any (queues)", [queue])).toEqual([])
    expect(stops).toEqual([])
    const open = "select 1 from pg_stat_activity where datname = current_database() and application_name = 'pgtusk worker'"
    await waitFor(async () => (await g.db.query(open)).length === 0)
  })

  test.each(["stop", "drain"] as const)("a worker that is told to %s() while it starts leaves nothing behind in the process", async (how) => {
    const names = ["SIGTERM", "SIGINT", "unhandledRejection", "uncaughtException"] as const
    const hooks = (): number[] => names.map((name) => process.listenerCount(name))
    const before = hooks()
    const queue = g.name("q")
    const ran = task({ name: g.name("t"), queue }, () => "ran")
    const worker = await g.work(
      {
        queues: [queue],
        poll: "50ms",
        onStart: async (worker) => {
          await worker[how]()
        },
      },
      { signals: true },
    )
    expect(hooks()).toEqual(before)
    expect(await g.db.query("select from tusk.workers where id = $1", [worker.id])).toEqual([])
    const job = await ran.enqueue()
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(await job.state()).toBe("waiting")
    // One that has started has them.
    const other = await g.work({ queues: [g.name("q")] }, { signals: true })
    expect(hooks().every((count, i) => count > before[i]! || names[i] === "uncaughtException")).toBe(true)
    await other.stop()
    expect(hooks()).toEqual(before)
  })

  test("onStart runs before the first claim, onStop after the last job; one that throws is logged", async () => {
    const queue = g.name("q")
    const order: string[] = []
    const run = task({ name: g.name("t"), queue }, () => void order.push("job"))
    g.open()
    await run.enqueue()
    const worker = await g.work({
      queues: [queue],
      onStart: async () => {
        await new Promise((resolve) => setImmediate(resolve))
        order.push("start")
      },
      onStop: () => {
        order.push("stop")
        throw new Error("stop threw")
      },
    })
    await waitFor(() => order.includes("job"))
    await worker.drain()
    expect(order).toEqual(["start", "job", "stop"])
    expect(g.log.some((line) => line.message === "onStop threw" && line.fields["error"].message === "stop threw")).toBe(true)
  })
})
