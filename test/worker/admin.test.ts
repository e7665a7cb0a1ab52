import { describe, expect, test } from "vitest"
import { currentJob, task } from "../../src/index.js"
import { waitFor } from "../support/wait.js"
import { Gate, ground, reaches } from "./ground.js"

const g = ground()

describe("retry()", () => {
  test("takes a failed job back with a fresh budget; attempts count on", async () => {
    const queue = g.name("q")
    const attempts: number[] = []
    const failing = task({ name: g.name("t"), queue, retries: 1, backoff: 0 }, () => {
      attempts.push(currentJob().attempt)
      throw new Error(`attempt ${currentJob().attempt} of ${currentJob().maxAttempts}`)
    })
    await g.work({ queues: [queue] })
    const job = await failing.enqueue()
    for (const round of [1, 2, 3]) {
      await job.settled({ timeout: 10 })
      expect(await job.snapshot()).toMatchObject({ state: "failed", attempt: round * 2, maxAttempts: round * 2 })
      if (round < 3) expect(await job.retry()).toBe(true)
    }
    expect(attempts).toEqual([1, 2, 3, 4, 5, 6])
    const { attempts: history } = await job.snapshot()
    expect(history.map((a) => a.error!.message)).toEqual([
      "attempt 1 of 2",
      "attempt 2 of 2",
      "attempt 3 of 4",
      "attempt 4 of 4",
      "attempt 5 of 6",
      "attempt 6 of 6",
    ])
  })

  test("of a producer works after weeks without a worker, when no partition was made for today", async () => {
    const tusk = g.open()
    const job = await task({ name: g.name("t"), queue: g.name("q") }, () => undefined).enqueue()
    const days = await g.db.query<{ name: string }>(
      "select inhrelid::regclass::text as name from pg_inherits where inhparent = 'tusk.finished_jobs'::regclass",
    )
    expect(days.length).toBeGreaterThan(10)
    await g.db.query(`drop table ${days.map(({ name }) => name).join(", ")}`)
    expect(await tusk.job(job.id).cancel("old")).toBe(true)
    expect(await job.snapshot()).toMatchObject({ state: "cancelled", error: { message: "old" } })
  })

  test("takes cancelled and expired jobs back; refuses live and completed ones", async () => {
    const queue = g.name("q")
    const gate = new Gate()
    const run = task({ name: g.name("t"), queue }, (label: string) => gate.pass(label, currentJob().signal))
    const tusk = g.open()
    const cancelled = await run.enqueue("cancelled")
    await cancelled.cancel()
    const expired = await run.with({ ttl: "1h" }).enqueue("expired")
    await g.db.query("update tusk.jobs set created_at = created_at - interval '1 hour', expires_at = now() where id = $1", [expired.id])
    await g.db.query("select tusk.expire_jobs(10)")
    await reaches(expired, "expired")
    for (const job of [cancelled, expired]) {
      expect(await job.retry()).toBe(true)
      expect(await job.retry()).toBe(false)
      expect(await job.state()).toBe("waiting")
    }
    const delayed = await run.with({ delay: "1h" }).enqueue("delayed")
    expect(await delayed.retry()).toBe(false)
    await tusk.work({ queues: [queue] })
    await waitFor(() => gate.waiting === 2)
    expect(await cancelled.retry()).toBe(false)
    expect(await cancelled.state()).toBe("active")
    gate.open()
    await cancelled.result({ timeout: 10 })
    expect(await cancelled.retry()).toBe(false)
  })

  test("of the same job from many places at once does it once", async () => {
    const queue = g.name("q")
    const failing = task({ name: g.name("t"), queue }, () => {
      throw new Error("x")
    })
    const worker = await g.work({ queues: [queue] })
    const job = await failing.enqueue()
    await job.settled({ timeout: 10 })
    await worker.stop()
    const did = await Promise.all(Array.from({ length: 8 }, () => job.retry()))
    expect(did.filter((done) => done)).toHaveLength(1)
    expect(await g.counts(queue)).toEqual({ waiting: 1 })
  })

  test("of a parent releases the children that it blocked", async () => {
    const queue = g.name("q")
    let broken = true
    const parent = task({ name: g.name("parent"), queue }, () => {
      if (broken) throw new Error("x")
    })
    const child = task({ name: g.name("child"), queue }, () => "child ran")
    await g.work({ queues: [queue] })
    const first = await parent.enqueue()
    const second = await child.with({ dependsOn: [first] }).enqueue()
    await first.settled({ timeout: 10 })
    expect(await second.state()).toBe("blocked")
    broken = false
    await first.retry()
    expect(await second.result({ timeout: 10 })).toBe("child ran")
  })
})

describe("promote() and reschedule()", () => {
  test("a delayed job runs at once when it is promoted; others refuse", async () => {
    const queue = g.name("q")
    const gate = new Gate()
    const run = task({ name: g.name("t"), queue }, (label: string) => gate.pass(label))
    await g.work({ queues: [queue], poll: 60 })
    const job = await run.with({ delay: "1h" }).enqueue("x")
    await reaches(job, "delayed")
    const blocked = await run.with({ dependsOn: [job] }).enqueue("child")
    expect(await blocked.promote()).toBe(false)
    expect(await job.promote()).toBe(true)
    await waitFor(() => gate.waiting === 1)
    expect(await job.promote()).toBe(false)
    gate.open()
    await blocked.result({ timeout: 10 })
    expect(await job.promote()).toBe(false)
  })

  test("a job may be put off, and brought forward, by a duration or to an instant", async () => {
    const queue = g.name("q")
    const ran: string[] = []
    const run = task({ name: g.name("t"), queue }, (label: string) => void ran.push(label))
    const tusk = g.open()
    const job = await run.enqueue("put off")
    expect(await job.reschedule("1h")).toBe(true)
    const [row] = await g.db.query("select round(extract(epoch from run_at - now()))::int as left from tusk.jobs where id = $1", [job.id])
    expect(Math.abs(row.left - 3_600)).toBeLessThanOrEqual(2)
    await tusk.work({ queues: [queue], poll: 60 })
    const marker = await run.enqueue("marker")
    await marker.result({ timeout: 10 })
    expect(await job.state()).toBe("delayed")
    expect(await job.reschedule("100ms")).toBe(true)
    await job.result({ timeout: 10 })
    const other = await run.with({ delay: "1h" }).enqueue("long ago")
    expect(await other.reschedule(new Date(0))).toBe(true)
    await other.result({ timeout: 10 })
    expect(ran).toEqual(["marker", "put off", "long ago"])
    expect(await other.reschedule(5)).toBe(false)
    await expect(other.reschedule("soon" as never)).rejects.toMatchObject({ code: "INVALID_OPTION" })
  })
})
