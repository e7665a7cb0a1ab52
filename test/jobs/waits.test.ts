/** Waiting costs little, ends in time, and misses nothing. */
import { describe, expect, test } from "vitest"
import { WaitTimeoutError } from "../../src/api/errors.js"
import { task } from "../../src/index.js"
import { schemaNames } from "../../src/postgres/statements/names.js"
import { startProxy } from "../support/proxy.js"
import { waitFor, within } from "../support/wait.js"
import { bench, connect, openTusk, RecordingPool, rejection, startWorker, timed } from "./setup.js"

const on = bench()
const work = task({ name: "work" }, async (n: number) => n * 2)
const numbers = Array.from({ length: 1_000 }, (_, i) => i)

describe("1,000 waits", () => {
  test("cost a handful of statements, and end with the jobs, worked by another client", async () => {
    const pool = new RecordingPool({ connectionString: on.db.url, max: 5 })
    const tusk = openTusk({ pool })
    const jobs = await work.with({ via: tusk, delay: 3600 }).enqueueMany(numbers.map((n) => [n]))
    await tusk.workers()
    pool.statements.length = 0
    const results = jobs.map((job) => job.result())
    await waitFor(async () => (await on.db.query("select count(*)::int as n from tusk.jobs where watched"))[0]!.n === 1_000)
    expect(pool.statements.length).toBeLessThanOrEqual(5)
    const worker = openTusk({ connectionString: on.db.url })
    await startWorker(worker, { queues: { default: 50 } })
    await on.db.query("update tusk.jobs set run_at = now()")
    expect(await within(Promise.all(results), 20_000, "all results")).toEqual(numbers.map((n) => n * 2))
    // A batch of ends is told at once, and read at once.
    expect(pool.statements.length).toBeLessThanOrEqual(60)
    await pool.end()
  })

  test("for jobs that have ended already are read together", async () => {
    const worker = openTusk({ connectionString: on.db.url })
    await startWorker(worker, { queues: { default: 50 } })
    const jobs = await work.with({ via: worker }).enqueueMany(numbers.map((n) => [n]))
    await Promise.all(jobs.map((job) => job.result()))
    const pool = new RecordingPool({ connectionString: on.db.url, max: 5 })
    const tusk = openTusk({ pool })
    await tusk.workers()
    pool.statements.length = 0
    expect(await Promise.all(jobs.map((job) => tusk.job(job.id).result()))).toEqual(numbers.map((n) => n * 2))
    expect(pool.statements.length).toBeLessThanOrEqual(5)
    await pool.end()
  })

  test("on one job cost no more than one", async () => {
    const pool = new RecordingPool({ connectionString: on.db.url, max: 5 })
    const tusk = openTusk({ pool })
    const job = await work.with({ via: tusk }).enqueue(21)
    await tusk.workers()
    pool.statements.length = 0
    const results = numbers.map(() => job.result())
    await startWorker(on.tusk, { queues: ["default"] })
    expect(new Set(await Promise.all(results))).toEqual(new Set([42]))
    expect(pool.statements.length).toBeLessThanOrEqual(8)
    await pool.end()
  })
})

describe("timeouts and signals", () => {
  test("a wait ends in time with WaitTimeoutError; the job goes on", async () => {
    const job = await work.with({ via: on.tusk, delay: 3600 }).enqueue(1)
    let error: any
    const took = await timed(async () => {
      error = await rejection(job.result({ timeout: "150ms" }))
    })
    expect(error).toBeInstanceOf(WaitTimeoutError)
    expect(error.message).toBe(`Job ${job.id} had not ended after 150 ms; it goes on`)
    expect(took).toBeGreaterThan(140)
    expect(await job.state()).toBe("delayed")
    expect(await rejection(job.settled({ timeout: "10ms" }))).toBeInstanceOf(WaitTimeoutError)
  })

  test("an aborted signal ends it with the signal's reason, at once when it is aborted already", async () => {
    const job = await work.with({ via: on.tusk, delay: 3600 }).enqueue(1)
    const aborter = new AbortController()
    const reason = new Error("the request is gone")
    const waiting = rejection(job.result({ signal: aborter.signal }))
    await waitFor(async () => (await on.db.query("select 1 from tusk.jobs where watched")).length === 1)
    aborter.abort(reason)
    expect(await waiting).toBe(reason)
    expect(await rejection(job.result({ signal: aborter.signal, timeout: 60 }))).toBe(reason)
  })

  test("the time counts from the call, also where the network swallows everything", async () => {
    const proxy = await startProxy(on.db.url)
    const tusk = openTusk({ connectionString: proxy.url })
    const job = await work.with({ via: tusk, delay: 3600 }).enqueue(1)
    proxy.pause()
    for (const client of [tusk, openTusk({ connectionString: proxy.url })]) {
      const took = await timed(async () => {
        expect(await rejection(client.job(job.id).result({ timeout: "200ms" }))).toBeInstanceOf(WaitTimeoutError)
      })
      expect(took).toBeLessThan(3_000)
    }
    proxy.resume()
    await proxy.close()
  })

  test("close() ends all waits", async () => {
    const tusk = openTusk({ connectionString: on.db.url })
    const job = await work.with({ via: tusk, delay: 3600 }).enqueue(1)
    const waiting = rejection(job.result())
    await waitFor(async () => (await on.db.query("select 1 from tusk.jobs where watched")).length === 1)
    await tusk.close()
    const error = await waiting
    expect(error).toBeInstanceOf(WaitTimeoutError)
    expect(error.message).toMatch(/The client was closed while it waited/)
  })
})

describe("nothing is missed", () => {
  test("a wait sees an end although every notification is lost", async () => {
    const proxy = await startProxy(on.db.url)
    proxy.notifications = "none"
    const tusk = openTusk({ connectionString: proxy.url })
    await startWorker(on.tusk, { queues: ["default"] })
    const job = await work.with({ via: tusk, delay: "300ms" }).enqueue(4)
    expect(await job.result({ timeout: 20 })).toBe(8)
    await proxy.close()
  })

  test("a wait outlives an outage of the server", async () => {
    const proxy = await startProxy(on.db.url)
    const tusk = openTusk({ connectionString: proxy.url })
    const job = await work.with({ via: tusk, delay: 3600 }).enqueue(5)
    const result = job.result()
    await waitFor(async () => (await on.db.query("select 1 from tusk.jobs where watched")).length === 1)
    proxy.refuse()
    proxy.drop()
    await startWorker(on.tusk, { queues: ["default"] })
    await on.tusk.job(job.id).promote()
    await waitFor(async () => (await on.tusk.job(job.id).state()) === "completed")
    await proxy.accept()
    expect(await within(result, 20_000)).toBe(10)
    await proxy.close()
  })

  test("marking a job does not hide it from workers for long: whoever passed it over is told of it again", async () => {
    const channel = schemaNames("tusk").channel
    const client = await connect(on.db.url)
    const heard: string[] = []
    client.on("notification", ({ payload }) => heard.push(payload ?? ""))
    await client.query(`listen "${channel}"`)
    const job = await work.with({ via: on.tusk, wake: "poll" }).enqueue(6)
    const result = job.result()
    await waitFor(() => heard.some((text) => text.startsWith('["j", "default", 5, ')))
    await startWorker(on.tusk, { queues: ["default"] })
    expect(await within(result, 10_000)).toBe(12)
  })

  test("one job that is locked for long does not hold up the waits on others", async () => {
    const locked = await work.with({ via: on.tusk, delay: 3600 }).enqueue(1)
    const client = await connect(on.db.url)
    await client.query("begin")
    await work.with({ via: on.tusk, tx: client, dependsOn: [locked] }).enqueue(2)
    await startWorker(on.tusk, { queues: ["default"] })
    const stuck = locked.result()
    const free = await work.with({ via: on.tusk }).enqueue(3)
    expect(await free.result({ timeout: 5 })).toBe(6)
    await client.query("commit")
    await locked.promote()
    expect(await within(stuck, 10_000)).toBe(2)
  })
})
