import { describe, expect, test } from "vitest"
import { InvalidOptionError } from "../../src/api/errors.js"
import { task } from "../../src/index.js"
import { bench, rejection, startWorker } from "./setup.js"

const on = bench()
const work = task({ name: "work" }, async (n: number) => {
  if (n < 0) throw new Error("negative")
  return n
})
const count = async (): Promise<number> => (await on.db.query<{ n: number }>("select count(*)::int as n from tusk.jobs"))[0]!.n

describe("a custom id", () => {
  test("I8: one job with it in its queue; a second call finds the first and stores nothing", async () => {
    const view = work.with({ via: on.tusk, id: "order-42" })
    const first = await view.enqueue(1)
    const second = await view.enqueue(2)
    expect([first.created, second.created]).toEqual([true, false])
    expect([second.id, second.queue, second.task]).toEqual([first.id, "default", "work"])
    expect((await second.snapshot()).args).toEqual([1])
    expect((await first.snapshot()).customId).toBe("order-42")
    expect(await count()).toBe(1)
  })

  test("is of its queue: another queue has its own", async () => {
    const a = await work.with({ via: on.tusk, id: "same", queue: "a" }).enqueue(1)
    const b = await work.with({ via: on.tusk, id: "same", queue: "b" }).enqueue(2)
    expect([a.created, b.created]).toEqual([true, true])
    expect((await on.tusk.queue("a").job("same"))?.id).toBe(a.id)
    expect((await on.tusk.queue("b").job("same"))?.id).toBe(b.id)
    expect(await on.tusk.queue("c").job("same")).toBeUndefined()
  })

  test.each([
    ["completed", 1],
    ["failed", -1],
  ])("stays taken when its job has %s, and is free once that is removed", async (state, n) => {
    await startWorker(on.tusk, { queues: ["default"] })
    const view = work.with({ via: on.tusk, id: "once" })
    const first = await view.enqueue(n)
    await first.settled()
    const again = await view.enqueue(5)
    expect([again.created, again.id, await again.state()]).toEqual([false, first.id, state])
    expect((await on.tusk.queue("default").job("once"))?.id).toBe(first.id)
    expect(await first.remove()).toBe(true)
    expect(await on.tusk.queue("default").job("once")).toBeUndefined()
    const fresh = await view.enqueue(6)
    expect([fresh.created, fresh.id === first.id]).toEqual([true, false])
    expect(await fresh.result()).toBe(6)
  })

  test("is free once its job is past its retention", async () => {
    await startWorker(on.tusk, { queues: ["default"] })
    const view = work.with({ via: on.tusk, id: "gone", keep: { completed: false } })
    const first = await view.enqueue(1)
    await first.result().catch(() => undefined)
    const second = await view.enqueue(2)
    expect([second.created, second.id === first.id]).toEqual([true, false])
  })

  test("a live job gives its id back when it is removed", async () => {
    const view = work.with({ via: on.tusk, id: "live" })
    const first = await view.enqueue(1)
    await first.remove()
    expect((await view.enqueue(2)).created).toBe(true)
    expect(await count()).toBe(1)
  })

  test.each([
    ["", /is "", which is empty/],
    ["12345", /is "12345", which is made of digits only; write something more, as in "order-12345"/],
    ["a:b", /is "a:b", which holds a ":"; write another sign, as in "a-b"/],
    [42, /is 42, which is not a string/],
    ["x".repeat(256), /is 256 characters long/],
    ["a\0b", /U\+0000/],
  ])("%j is refused", async (id, message) => {
    const error = await rejection((async () => work.with({ via: on.tusk, id: id as string }).enqueue(1))())
    expect(error).toBeInstanceOf(InvalidOptionError)
    expect(error.message).toMatch(message)
    expect(error.message).toContain('Option "id" of a job of task "work"')
    expect(await count()).toBe(0)
  })

  test("holds inside one call of many: the first owns it", async () => {
    const jobs = await on.tusk.enqueueMany([1, 2, 3].map((n) => work.call(n).with({ id: n < 3 ? "same" : "other" })))
    expect(jobs.map((job) => job.created)).toEqual([true, false, true])
    expect(jobs[1]!.id).toBe(jobs[0]!.id)
    expect(await count()).toBe(2)
  })

  test("goes together with a key: whoever loses by the key does not keep the id from others", async () => {
    await work.with({ via: on.tusk, deduplicate: "taken" }).enqueue(1)
    // One call, so one batch: the first takes id "x" and then finds its key taken; the second wants just "x".
    const [loser, winner] = await on.tusk.enqueueMany([work.call(2).with({ id: "x", deduplicate: "taken" }), work.call(3).with({ id: "x" })])
    expect([loser!.created, winner!.created]).toEqual([false, true])
    expect((await loser!.snapshot()).args).toEqual([1])
    expect((await winner!.snapshot()).args).toEqual([3])
    expect((await on.tusk.queue("default").job("x"))?.id).toBe(winner!.id)
    expect(await count()).toBe(2)
  })
})
