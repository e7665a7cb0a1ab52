import { beforeEach, describe, expect, test } from "vitest"
import { InvalidOptionError, JobCancelledError, JobFailedError, UnknownJobError } from "../../src/api/errors.js"
import type { Job } from "../../src/api/job.js"
import type { OnParentFailure } from "../../src/api/options.js"
import { task } from "../../src/index.js"
import { waitFor } from "../support/wait.js"
import { bench, connect, openTusk, rejection, startWorker, waitForLock } from "./setup.js"

const on = bench()
const ran: string[] = []
beforeEach(() => {
  ran.length = 0
})
const step = task({ name: "step" }, async (what: string) => {
  ran.push(what)
  if (what.startsWith("bad")) throw new Error(`${what} failed`)
  return what
})
const view = () => step.with({ via: on.tusk })
const work = () => startWorker(on.tusk, { queues: ["default", "other"], poll: "60s" })

describe("I5: a child starts only after its parent", () => {
  test("a parent that is live: the child is blocked, says by whom, and runs after it", async () => {
    const parent = await view().enqueue("parent")
    const child = await view()
      .with({ dependsOn: [parent] })
      .enqueue("child")
    expect(await child.snapshot()).toMatchObject({ state: "blocked", dependsOn: [parent.id], waitingFor: [parent.id] })
    await work()
    expect(await child.result({ timeout: 10 })).toBe("child")
    expect(ran).toEqual(["parent", "child"])
    expect(await child.snapshot()).toMatchObject({ state: "completed", dependsOn: [parent.id], waitingFor: [] })
    expect(await on.db.query("select 1 from tusk.job_dependencies")).toEqual([])
  })

  test("a parent that has completed already: the child waits for nothing, and is started at once", async () => {
    await work()
    const parent = await view().enqueue("parent")
    await parent.result()
    const child = await view()
      .with({ dependsOn: [parent.id] })
      .enqueue("child")
    // Without a wake-up it would only be found by the poll, in a minute.
    expect(await child.result({ timeout: 10 })).toBe("child")
    expect((await child.snapshot()).dependsOn).toEqual([parent.id])
  })

  test("two parents, one of them finished, in another queue each", async () => {
    const worker = await work()
    const a = await view().with({ queue: "other" }).enqueue("a")
    await a.result()
    worker.pause()
    const b = await view().enqueue("b")
    const child = await view()
      .with({ dependsOn: [a, b], queue: "other" })
      .enqueue("child")
    expect(await child.snapshot()).toMatchObject({ state: "blocked", dependsOn: [a.id, b.id], waitingFor: [b.id] })
    worker.resume()
    expect(await child.result({ timeout: 10 })).toBe("child")
    expect(ran).toEqual(["a", "b", "child"])
  })

  test("a chain runs in order, whatever the priorities", async () => {
    const jobs: Job<string>[] = []
    for (let i = 0; i < 6; i++) {
      jobs.push(
        await view()
          .with({ priority: 100 - i, ...(i === 0 ? {} : { dependsOn: [jobs[i - 1]!] }) })
          .enqueue(`step ${i}`),
      )
    }
    await work()
    await jobs.at(-1)!.result({ timeout: 10 })
    expect(ran).toEqual(jobs.map((_, i) => `step ${i}`))
  })

  test("a delayed child that its parent releases still waits for its own time", async () => {
    await work()
    const parent = await view().enqueue("parent")
    const child = await view()
      .with({ dependsOn: [parent], delay: 3600 })
      .enqueue("child")
    await parent.result()
    await waitFor(async () => (await child.state()) === "delayed")
    expect(await child.promote()).toBe(true)
    expect(await child.result({ timeout: 10 })).toBe("child")
    // Its time may also have come while it was blocked.
    const slow = await view().with({ delay: 3600 }).enqueue("slow")
    const due = await view()
      .with({ dependsOn: [slow], delay: "1ms" })
      .enqueue("due")
    expect(await due.state()).toBe("blocked")
    expect(await due.promote()).toBe(false)
    await slow.promote()
    expect(await due.result({ timeout: 10 })).toBe("due")
  })

  test("a delayed child of a finished parent is delayed, and starts in time", async () => {
    await work()
    const parent = await view().enqueue("parent")
    await parent.result()
    const child = await view()
      .with({ dependsOn: [parent], delay: "100ms" })
      .enqueue("child")
    expect(await child.result({ timeout: 10 })).toBe("child")
  })

  test("one parent twice is one edge", async () => {
    const parent = await view().enqueue("parent")
    const child = await view()
      .with({ dependsOn: [parent, parent.id, { job: parent.id.toUpperCase() }] })
      .enqueue("child")
    expect((await child.snapshot()).waitingFor).toEqual([parent.id])
    await work()
    expect(await child.result({ timeout: 10 })).toBe("child")
  })
})

describe("a parent that is not there", () => {
  const unknown = "01890000-0000-7000-8000-00000000abcd"

  test.each([
    [
      "an id that no job has",
      unknown,
      /no job has the id 01890000-0000-7000-8000-00000000abcd, given in dependsOn \(task "step"\); nothing was stored/,
    ],
    ["an id that is none", "order-42", /depends on "order-42", which is no job's id; pass job\.id \(a custom id finds its job by await tusk\.queue/],
  ])("%s: UnknownJobError, and nothing is stored", async (_, id, message) => {
    const known = await view().enqueue("known")
    const error = await rejection(on.tusk.enqueueMany([step.call("fine"), step.call("child").with({ dependsOn: [known, id] })]))
    expect(error).toBeInstanceOf(UnknownJobError)
    expect(error.message).toMatch(message)
    expect(await on.db.query("select args ->> 0 as what from tusk.jobs")).toEqual([{ what: "known" }])
  })

  test("one that was rolled back, or removed", async () => {
    const client = await connect(on.db.url)
    await client.query("begin")
    const rolledBack = await view().with({ tx: client }).enqueue("parent")
    await client.query("rollback")
    const removed = await view().enqueue("parent")
    await removed.remove()
    for (const parent of [rolledBack, removed]) {
      expect(
        await rejection(
          view()
            .with({ dependsOn: [parent] })
            .enqueue("child"),
        ),
      ).toBeInstanceOf(UnknownJobError)
    }
  })

  test("one of the same open transaction is known", async () => {
    const child = await on.tusk.transaction(async (tx) => {
      const parent = await view().with({ tx }).enqueue("parent")
      return view()
        .with({ tx, dependsOn: [parent] })
        .enqueue("child")
    })
    await work()
    expect(await child.result({ timeout: 10 })).toBe("child")
    expect(ran).toEqual(["parent", "child"])
  })
})

describe("a parent that does not succeed", () => {
  async function family(onParentFailure: OnParentFailure | undefined, what = "bad"): Promise<{ parent: Job<string>; child: Job<string> }> {
    const parent = await view().enqueue(what)
    const child = await view()
      .with({ dependsOn: [parent], ...(onParentFailure === undefined ? {} : { onParentFailure }) })
      .enqueue("child")
    return { parent, child }
  }

  test.each([undefined, "block"] as const)("%s: the child stays blocked until the parent is retried and succeeds", async (policy) => {
    const flag = { broken: true }
    const flaky = task({ name: `flaky ${policy}` }, async () => {
      if (flag.broken) throw new Error("broken")
    })
    await work()
    const parent = await flaky.with({ via: on.tusk }).enqueue()
    const child = await view()
      .with({ dependsOn: [parent], ...(policy === undefined ? {} : { onParentFailure: policy }) })
      .enqueue("child")
    await parent.settled()
    expect(await child.snapshot()).toMatchObject({ state: "blocked", waitingFor: [parent.id] })
    flag.broken = false
    expect(await parent.retry()).toBe(true)
    expect(await child.result({ timeout: 10 })).toBe("child")
  })

  test("fail: the child fails, and so do its own children; it never runs", async () => {
    const { parent, child } = await family("fail")
    const grandchild = await view()
      .with({ dependsOn: [child], onParentFailure: "fail" })
      .enqueue("grandchild")
    await work()
    const error = await rejection(grandchild.result({ timeout: 10 }))
    expect(error).toBeInstanceOf(JobFailedError)
    expect(error.message).toContain(`Its parent job ${child.id} failed`)
    expect((await child.snapshot()).error).toMatchObject({ name: "JobFailedError", message: `Its parent job ${parent.id} failed` })
    expect(ran).toEqual(["bad"])
  })

  test("cancel: the child is cancelled, and never runs", async () => {
    const { parent, child } = await family("cancel")
    await work()
    const error = await rejection(child.result({ timeout: 10 }))
    expect(error).toBeInstanceOf(JobCancelledError)
    expect(error.message).toContain(parent.id)
    expect(ran).toEqual(["bad"])
  })

  test("run: the child runs all the same", async () => {
    const { child } = await family("run")
    await work()
    expect(await child.result({ timeout: 10 })).toBe("child")
    expect(ran).toEqual(["bad", "child"])
  })

  test.each(["fail", "cancel", "run"] as const)("%s also holds when the parent is cancelled, and when it had failed before", async (policy) => {
    await work()
    const state = { fail: "failed", cancel: "cancelled", run: "completed" }[policy]
    const { parent: failed } = await family("block")
    await failed.settled()
    const late = await view()
      .with({ dependsOn: [failed], onParentFailure: policy })
      .enqueue("late")
    await late.settled({ timeout: 10 })
    expect(await late.state()).toBe(state)
    const parent = await view().with({ delay: 3600 }).enqueue("parent")
    const child = await view()
      .with({ dependsOn: [parent], onParentFailure: policy })
      .enqueue("child")
    await parent.cancel()
    await child.settled({ timeout: 10 })
    expect(await child.state()).toBe(state)
  })

  test("each edge may have its own policy; the strictest that strikes decides", async () => {
    const good = await view().enqueue("good")
    const bad = await view().enqueue("bad")
    const run = await view()
      .with({ dependsOn: [good, { job: bad, onFailure: "run" }], onParentFailure: "fail" })
      .enqueue("runs")
    const fails = await view()
      .with({ dependsOn: [{ job: good, onFailure: "run" }, bad], onParentFailure: "fail" })
      .enqueue("fails")
    await work()
    expect(await run.result({ timeout: 10 })).toBe("runs")
    expect(await rejection(fails.result({ timeout: 10 }))).toBeInstanceOf(JobFailedError)
  })

  test("a parent that is removed can never succeed: its blocked children are cancelled", async () => {
    const { parent, child } = await family("block", "parent")
    await parent.remove()
    const error = await rejection(child.result({ timeout: 10 }))
    expect(error).toBeInstanceOf(JobCancelledError)
    expect(error.message).toContain(`Its parent job ${parent.id} was removed`)
  })

  test.each([
    [["not a job", 5], /Element 1 of option "dependsOn" .* is 5, which is not a job/],
    [[Promise.resolve()], /is Promise .*await enqueue\(\) first, and pass the job/],
    ["one", /"dependsOn".* is "one", which is not a list; write dependsOn: \[job\]/],
  ])("dependsOn: %j is refused", async (dependsOn, message) => {
    const error = await rejection((async () => step.with({ via: on.tusk, dependsOn: dependsOn as any }).enqueue("x"))())
    expect(error).toBeInstanceOf(InvalidOptionError)
    expect(error.message).toMatch(message)
  })

  test("a policy that is none is refused with the ones that are", async () => {
    const error = await rejection((async () => step.with({ via: on.tusk, onParentFailure: "ignore" as any }))())
    expect(error.message).toMatch(/"onParentFailure".* is "ignore".*"block", "fail", "cancel", "run"/)
  })
})

describe("races of a parent's end and its child's enqueue", () => {
  test("I5: a parent that ends while its child is being stored counts, whichever comes first", async () => {
    const other = openTusk({ connectionString: on.db.url })
    await startWorker(on.tusk, { queues: { default: 20 }, poll: "1s" })
    for (let round = 0; round < 60; round++) {
      const parent = await view().enqueue(`parent ${round}`)
      const children = await Promise.all(
        [on.tusk, other].map((tusk) => step.with({ via: tusk, dependsOn: [parent], priority: 1 }).enqueue(`child of ${round}`)),
      )
      for (const child of children) await child.result({ timeout: 10 })
    }
    expect(ran).toHaveLength(180)
  })

  test("the end of a parent waits for a transaction that is about to add a child to it", async () => {
    const parent = await view().with({ delay: 3600 }).enqueue("parent")
    const client = await connect(on.db.url)
    await client.query("begin")
    const child = await view()
      .with({ tx: client, dependsOn: [parent], onParentFailure: "cancel" })
      .enqueue("child")
    const cancelled = parent.cancel()
    await waitForLock(on.db)
    await client.query("commit")
    expect(await cancelled).toBe(true)
    await child.settled({ timeout: 10 })
    expect(await child.state()).toBe("cancelled")
  })

  test("a waiting parent that was locked for a child is started as soon as that transaction is over", async () => {
    const parent = await view().enqueue("parent")
    const client = await connect(on.db.url)
    await client.query("begin")
    const child = await view()
      .with({ tx: client, dependsOn: [parent] })
      .enqueue("child")
    // The worker's claims, and its first sweeps, pass over the locked row.
    await work()
    await (await view().enqueue("another")).result({ timeout: 10 })
    expect(ran).toEqual(["another"])
    await client.query("commit")
    expect(await child.result({ timeout: 10 })).toBe("child")
    expect(ran).toEqual(["another", "parent", "child"])
  })
})
