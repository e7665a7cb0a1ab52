/** What a parent's end means for its children: I5, a child starts only after its parents allow it, and exactly once. */
import { beforeEach, describe, expect, test } from "vitest"
import { flow, type Job, JobCancelledError, JobFailedError, type JobRef, type OnParentFailure, type Tusk } from "../../src/index.js"
import { connect, waitForLock } from "../jobs/setup.js"
import { waitFor } from "../support/wait.js"
import { Gate, ground, reaches } from "../worker/ground.js"
import { echo, fails, give, held, hold } from "./tasks.js"

const on = ground()
const WAIT = { timeout: 15 }

beforeEach(() => {
  held.gate = undefined
  return on.db.query("truncate tusk.jobs, tusk.finished_jobs, tusk.job_dependencies, tusk.keys")
})

const edges = (child: JobRef): Promise<any[]> => on.db.query("select parent_id from tusk.job_dependencies where child_id = $1", [child.id])

/** A parent, and a child that gets its result. */
function pair(parent: ReturnType<typeof give.call>, onParentFailure?: OnParentFailure): Promise<Job & { jobs: readonly Job[] }> {
  return flow("pair", (f) => f.add(echo.call("child", f.add(parent).result), onParentFailure === undefined ? {} : { onParentFailure })).enqueue()
}

/** Ways in which a parent ends without success. */
const ENDS: readonly (readonly [string, (tusk: Tusk) => Promise<{ call: any; end: (parent: JobRef) => Promise<unknown> }>])[] = [
  ["failed", async () => ({ call: fails.call(), end: (parent) => reaches(parent, "failed") })],
  [
    "cancelled",
    async () => ({
      call: give.with({ delay: "1h" }).call(1),
      end: (parent) => parent.cancel(),
    }),
  ],
  [
    "cancelled while it ran",
    async () => {
      held.gate = new Gate()
      return {
        call: hold.call("a"),
        end: async (parent) => {
          await waitFor(() => held.gate!.arrived.length === 1)
          await parent.cancel()
        },
      }
    },
  ],
  [
    "expired",
    async () => ({
      call: give.with({ delay: "1h", ttl: "100ms" }).call(1),
      end: (parent) => reaches(parent, "expired"),
    }),
  ],
]

describe.each(ENDS)("a parent that %s", (name, prepare) => {
  const state = name.split(" ")[0]!

  async function ended(onParentFailure?: OnParentFailure) {
    const tusk = on.open()
    const { call, end } = await prepare(tusk)
    const child = await pair(call, onParentFailure)
    await tusk.work({ queues: ["flows"], poll: "1m" })
    const parent = child.jobs[0]!
    await end(parent)
    await reaches(parent, state as never)
    return { tusk, child, parent }
  }

  test("block, the default: the child waits on", async () => {
    const { child, parent } = await ended()
    expect(await child.snapshot()).toMatchObject({ state: "blocked", waitingFor: [parent.id], attempt: 0 })
    expect((await child.explain()).reasons[0]).toMatchObject({ code: "blocked", message: expect.stringContaining(parent.id) })
  })

  test("fail: the child fails, with the parent in its error", async () => {
    const { child, parent } = await ended("fail")
    const error = await child.result(WAIT).catch((e: unknown) => e)
    expect(error).toBeInstanceOf(JobFailedError)
    const said = state === "failed" ? "failed" : `is ${state}`
    expect((error as JobFailedError).snapshot).toMatchObject({
      state: "failed",
      attempt: 0,
      attempts: [],
      error: { name: "JobFailedError", message: `Its parent job ${parent.id} ${said}` },
    })
    expect(await edges(child)).toEqual([])
  })

  test("cancel: the child is cancelled", async () => {
    const { child, parent } = await ended("cancel")
    const error = await child.result(WAIT).catch((e: unknown) => e)
    expect(error).toBeInstanceOf(JobCancelledError)
    expect((error as Error).message).toContain(parent.id)
    expect(await child.state()).toBe("cancelled")
  })

  test("run: the child runs, the result is undefined", async () => {
    const { child } = await ended("run")
    expect(await child.result(WAIT)).toEqual(["child", undefined])
  })
})

describe("cascades", () => {
  test("fail and cancel go down to the last; block stops them", async () => {
    const tusk = on.open()
    const { jobs } = await flow("chain", (f) => {
      const a = f.add(fails.call())
      const b = f.add(give.call("b"), { after: [a], onParentFailure: "fail" })
      const c = f.add(give.call("c"), { after: [b], onParentFailure: "cancel" })
      const d = f.add(give.call("d"), { after: [c], onParentFailure: "run" })
      f.add(give.call("e"), { after: [c] })
      return f.add(give.call("f"), { after: [d, b], onParentFailure: "fail" })
    }).enqueue()
    const [a, b, c, d, e, f] = jobs as [Job, Job, Job, Job, Job, Job]
    await tusk.work()
    await reaches(d, "completed")
    expect(await Promise.all([a, b, c, e, f].map((job) => job.state()))).toEqual(["failed", "failed", "cancelled", "blocked", "failed"])
    expect((await f.snapshot()).error?.message).toBe(`Its parent job ${b.id} failed`)
    expect((await c.snapshot()).error?.message).toBe(`Its parent job ${b.id} failed`)
  })

  test("a long chain ends with its first", async () => {
    const tusk = on.open()
    const { jobs } = await flow("long", (f) => {
      let last = f.add(fails.call())
      for (let i = 0; i < 50; i++) last = f.add(give.call(i), { after: [last], onParentFailure: "fail" })
      return last
    }).enqueue()
    await tusk.work()
    await reaches(jobs.at(-1)!, "failed")
    expect(await on.counts("flows")).toEqual({ failed: 51 })
  })

  test("one parent fails, another completes: the child fails once, and keeps no edge", async () => {
    const tusk = on.open()
    const child = await flow("two", (f) =>
      f.add(echo.call(f.add(give.call(1)).result, f.add(fails.call()).result), { onParentFailure: "fail" }),
    ).enqueue()
    await tusk.work()
    await reaches(child, "failed")
    await waitFor(async () => (await on.counts("flows")).completed === 1)
    expect(await on.counts("flows")).toEqual({ completed: 1, failed: 2 })
    expect(await on.db.query("select 1 from tusk.job_dependencies")).toEqual([])
  })

  test("policies of single edges by dependsOn", async () => {
    const tusk = on.open()
    const parent = await fails.enqueue()
    const child = (options: object) => give.with(options).enqueue("child")
    const jobs = await Promise.all([
      child({ dependsOn: [{ job: parent, onFailure: "run" }] }),
      child({ dependsOn: [{ job: parent.id, onFailure: "cancel" }], onParentFailure: "fail" }),
      child({ dependsOn: [parent], onParentFailure: "fail" }),
      child({ dependsOn: [parent] }),
    ])
    await tusk.work()
    await reaches(jobs[0], "completed")
    expect(await Promise.all(jobs.map((job) => job.state()))).toEqual(["completed", "cancelled", "failed", "blocked"])
  })
})

describe("a parent that is retried", () => {
  test("and completes frees a blocked child, with its result", async () => {
    const tusk = on.open()
    const child = await pair(fails.call(1, "at last") as never)
    const parent = child.jobs[0]!
    await tusk.work()
    await reaches(parent, "failed")
    expect(await child.state()).toBe("blocked")
    expect(await parent.retry()).toBe(true)
    expect(await child.result(WAIT)).toEqual(["child", "at last"])
  })

  test("by its own retries: the child notices nothing of them", async () => {
    const tusk = on.open()
    const child = await pair(fails.with({ retries: 2, backoff: 0 }).call(2, "third time") as never, "fail")
    await tusk.work()
    expect(await child.result(WAIT)).toEqual(["child", "third time"])
  })

  test("while a child of it is being enqueued: the child is freed all the same", async () => {
    const tusk = on.open()
    const parent = await fails.enqueue(1, "late")
    const worker = await tusk.work({ queues: ["flows"] })
    await reaches(parent, "failed")
    await worker.drain()
    const client = await connect(on.db.url)
    await client.query("begin")
    const child = await give.with({ tx: client, dependsOn: [parent] }).enqueue("child")
    const retried = parent.retry()
    await waitForLock(on.db)
    await client.query("commit")
    expect(await retried).toBe(true)
    await tusk.work({ queues: ["flows"] })
    expect(await child.result(WAIT)).toBe("child")
  })
})

describe("a child that ended while it was blocked, and is retried", () => {
  test.each(["fail", "cancel"] as const)("waits for its parent again (%s), and gets its result", async (policy) => {
    const tusk = on.open()
    const child = await pair(fails.call(1, "value") as never, policy)
    const parent = child.jobs[0]!
    await tusk.work()
    await reaches(child, policy === "fail" ? "failed" : "cancelled")
    expect(await child.retry()).toBe(true)
    // It has been asked to run, so the parent's old failure does not end it again.
    expect(await child.snapshot()).toMatchObject({ state: "blocked", waitingFor: [parent.id] })
    expect(await parent.retry()).toBe(true)
    expect(await child.result(WAIT)).toEqual(["child", "value"])
  })

  test("after its parent was: nothing is left to wait for", async () => {
    const tusk = on.open()
    const child = await pair(fails.call(1, "value") as never, "fail")
    const parent = child.jobs[0]!
    await tusk.work()
    await reaches(child, "failed")
    await parent.retry()
    await reaches(parent, "completed")
    expect(await child.retry()).toBe(true)
    expect(await child.result(WAIT)).toEqual(["child", "value"])
  })

  test("together with its parent, in bulk", async () => {
    const tusk = on.open()
    const child = await pair(fails.call(1, "value") as never, "fail")
    await tusk.work()
    await reaches(child, "failed")
    expect(await tusk.queue("flows").redrive()).toBe(2)
    expect(await child.result(WAIT)).toEqual(["child", "value"])
  })

  test("cancelled by hand, its parent still on its way: it does not start before it", async () => {
    const tusk = on.open()
    held.gate = new Gate()
    const child = await pair(hold.call("held"))
    await tusk.work()
    await waitFor(() => held.gate!.arrived.length === 1)
    await child.cancel()
    expect(await edges(child)).toEqual([])
    expect(await child.retry()).toBe(true)
    expect(await child.state()).toBe("blocked")
    held.gate.open()
    expect(await child.result(WAIT)).toEqual(["child", "held"])
  })

  test("its parent gone: it runs, and the result is undefined", async () => {
    const tusk = on.open()
    const child = await pair(fails.call(), "fail")
    await tusk.work()
    await reaches(child, "failed")
    await child.jobs[0]!.remove()
    expect(await child.retry()).toBe(true)
    expect(await child.result(WAIT)).toEqual(["child", undefined])
  })

  test("one that had started before waits for nothing", async () => {
    const tusk = on.open()
    const child = await flow("late failure", (f) => f.add(fails.call(1, "done"), { after: [f.add(give.call(1))] })).enqueue()
    await tusk.work()
    await reaches(child, "failed")
    expect(await child.retry()).toBe(true)
    expect(await child.result(WAIT)).toBe("done")
  })
})

describe("a parent that is gone", () => {
  test.each([
    ["block", "cancelled"],
    ["fail", "failed"],
    ["cancel", "cancelled"],
  ] as const)("removed, %s: the child is %s", async (policy, state) => {
    const tusk = on.open()
    const child = await pair(give.with({ delay: "1h" }).call(1), policy)
    const parent = child.jobs[0]!
    await parent.remove()
    expect(await child.snapshot()).toMatchObject({ state, error: { message: `Its parent job ${parent.id} was removed` } })
    await tusk.close()
  })

  test("removed, run: the child runs", async () => {
    const tusk = on.open()
    const child = await pair(give.with({ delay: "1h" }).call(1), "run")
    await tusk.work({ queues: ["flows"], poll: "1m" })
    await child.jobs[0]!.remove()
    expect(await child.result(WAIT)).toEqual(["child", undefined])
  })

  test("removed after it had failed, and after it had finished well", async () => {
    const tusk = on.open()
    const child = await pair(fails.call())
    await tusk.work()
    await reaches(child.jobs[0]!, "failed")
    await child.jobs[0]!.remove()
    await reaches(child, "cancelled")
    const done = await give.enqueue(1)
    await done.result(WAIT)
    const free = await give.with({ dependsOn: [done] }).enqueue("free")
    await done.remove()
    expect(await free.result(WAIT)).toBe("free")
  })

  test("failed and not kept: it can never be retried, so a blocked child is cancelled", async () => {
    const tusk = on.open()
    const child = await pair(fails.with({ keep: { failed: false } }).call())
    await tusk.work()
    await reaches(child, "cancelled")
    await expect(child.jobs[0]!.state()).rejects.toMatchObject({ code: "UNKNOWN_JOB" })
    expect((await child.snapshot()).error?.message).toBe(`Its parent job ${child.jobs[0]!.id} failed`)
  })

  test("completed and not kept: the child has its result", async () => {
    const tusk = on.open()
    const child = await pair(give.with({ keep: { completed: false } }).call("gone") as never)
    await tusk.work()
    expect(await child.result(WAIT)).toEqual(["child", "gone"])
  })

  test("failed, and its retention over: a worker's duty ends the child", async () => {
    const tusk = on.open()
    const child = await pair(fails.call())
    const grandchild = await give.with({ dependsOn: [{ job: child, onFailure: "run" }] }).enqueue("grandchild")
    const worker = await tusk.work({ queues: ["flows"] })
    await reaches(child.jobs[0]!, "failed")
    await worker.drain()
    // What a dropped partition does.
    await on.db.query("delete from tusk.finished_jobs where id = $1", [child.jobs[0]!.id])
    expect(await child.state()).toBe("blocked")
    await tusk.work({ queues: ["flows"] })
    await reaches(child, "cancelled")
    expect(await grandchild.result(WAIT)).toBe("grandchild")
  })
})

describe("parents that have ended already", () => {
  test("completed: the child is free at once, with the result", async () => {
    const tusk = on.open()
    await tusk.work()
    const parent = await give.enqueue(5)
    await parent.result(WAIT)
    const child = await give.with({ dependsOn: [parent] }).enqueue("free")
    expect(await child.result(WAIT)).toBe("free")
    expect((await child.snapshot()).dependsOn).toEqual([parent.id])
  })

  test.each([
    ["block", "blocked"],
    ["fail", "failed"],
    ["cancel", "cancelled"],
    ["run", "completed"],
  ] as const)("failed, %s: the child is %s", async (onParentFailure, state) => {
    const tusk = on.open()
    await tusk.work()
    const parent = await fails.enqueue()
    await reaches(parent, "failed")
    const child = await give.with({ dependsOn: [parent], onParentFailure }).enqueue("child")
    await reaches(child, state)
    if (state === "blocked") {
      await parent.cancel()
      expect(await child.state()).toBe("blocked")
    }
  })

  test("one has ended, one has not", async () => {
    const tusk = on.open()
    await tusk.work()
    const done = await give.enqueue(1)
    await done.result(WAIT)
    const later = await give.with({ delay: "1h" }).enqueue(2)
    const child = await give.with({ dependsOn: [done, later] }).enqueue("child")
    expect(await child.snapshot()).toMatchObject({ state: "blocked", waitingFor: [later.id] })
    expect(await later.promote()).toBe(true)
    expect(await child.result(WAIT)).toBe("child")
  })
})

describe("a child's own time", () => {
  test("a delayed child that its parent frees still waits for it", async () => {
    const tusk = on.open()
    await tusk.work({ queues: ["flows"], poll: "1m" })
    const parent = await give.enqueue(1)
    const child = await give.with({ dependsOn: [parent], delay: "2s" }).enqueue("child")
    const { createdAt, runAt } = await child.snapshot()
    await parent.result(WAIT)
    await reaches(child, "delayed")
    expect((await child.snapshot()).runAt).toEqual(runAt)
    expect(runAt!.getTime() - createdAt.getTime()).toBe(2_000)
    await child.result(WAIT)
    expect((await child.snapshot()).startedAt!.getTime()).toBeGreaterThanOrEqual(runAt!.getTime())
  })

  test("its time over before its parent's end: it runs at once then", async () => {
    const tusk = on.open()
    held.gate = new Gate()
    const parent = await hold.enqueue("parent")
    const child = await give.with({ dependsOn: [parent], delay: "50ms" }).enqueue("child")
    await tusk.work({ queues: ["flows"], poll: "1m" })
    await waitFor(async () => (await on.db.query("select run_at < now() as over from tusk.jobs where id = $1", [child.id]))[0].over)
    expect(await child.state()).toBe("blocked")
    // A blocked job stays blocked, whoever promotes it.
    expect([await child.promote(), await child.reschedule(0)]).toEqual([false, false])
    held.gate.open()
    expect(await child.result(WAIT)).toBe("child")
  })

  test("its ttl runs out while it is blocked", async () => {
    const tusk = on.open()
    await tusk.work({ queues: ["flows"] })
    const parent = await give.with({ delay: "1h" }).enqueue(1)
    const child = await give.with({ dependsOn: [parent], ttl: "200ms" }).enqueue("child")
    const grandchild = await give.with({ dependsOn: [child], onParentFailure: "cancel" }).enqueue("grandchild")
    await reaches(grandchild, "cancelled")
    expect(await child.state()).toBe("expired")
    await parent.promote()
    await parent.result(WAIT)
    expect(await child.state()).toBe("expired")
  })
})

test("a cancelled child leaves its parents alone", async () => {
  const tusk = on.open()
  const child = await pair(give.with({ delay: "1h" }).call("parent") as never)
  await child.cancel()
  await tusk.work()
  await child.jobs[0]!.promote()
  expect(await child.jobs[0]!.result(WAIT)).toBe("parent")
  expect(await child.state()).toBe("cancelled")
})
