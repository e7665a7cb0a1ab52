/** At most so many jobs of a key at once, over all workers. */
import { expect, test } from "vitest"
import { currentJob, task } from "../../src/index.js"
import { waitFor } from "../support/wait.js"
import { Gate, ground, reaches } from "../worker/ground.js"

const on = ground()

test("at most `limit` jobs of a key run at once, and others of the queue go on", async () => {
  const tusk = on.open()
  const queue = on.name("q")
  const gate = new Gate()
  const limited = task({ name: on.name("limited"), queue, concurrency: { limit: 2, key: (tenant: string) => tenant } }, async (tenant: string) => {
    await gate.pass(tenant, currentJob().signal)
  })
  const free = task({ name: on.name("free"), queue }, () => "done")
  await tusk.work({ queues: { [queue]: 10 }, drainTimeout: 2 })
  const jobs = await limited.enqueueMany([["a"], ["a"], ["a"], ["a"], ["b"], ["b"], ["b"]])
  await waitFor(() => gate.waiting === 4)
  expect(await (await free.enqueue()).result()).toBe("done")
  expect(gate.arrived.sort()).toEqual(["a", "a", "b", "b"])
  expect(await on.counts(queue)).toMatchObject({ active: 4, waiting: 3 })
  gate.open()
  await Promise.all(jobs.map((job) => job.result({ timeout: 10 })))
  await reaches(jobs[0]!, "completed")
})

test("a queue's limit holds for all its jobs, bites while workers run, and can be lifted", async () => {
  const tusk = on.open()
  const queue = on.name("q")
  const gate = new Gate()
  const held = task({ name: on.name("held"), queue }, (label: string) => gate.pass(label, currentJob().signal))
  const keyed = task({ name: on.name("keyed"), queue, concurrency: { limit: 5, key: (label: string) => label } }, (label: string) =>
    gate.pass(label, currentJob().signal),
  )
  await tusk.work({ queues: { [queue]: 10 }, poll: "5m", drainTimeout: 2 })
  await held.enqueueMany([["1"], ["2"]])
  await waitFor(() => gate.waiting === 2)
  await tusk.queue(queue).configure({ concurrency: 4 })
  await held.enqueueMany(Array.from({ length: 5 }, () => ["more"]))
  await keyed.enqueueMany(Array.from({ length: 5 }, () => ["keyed"]))
  await waitFor(() => gate.waiting === 4)
  for (let i = 0; i < 6; i++) {
    gate.letOne()
    await waitFor(() => gate.arrived.length === 5 + i)
    expect(gate.waiting).toBeLessThanOrEqual(4)
    expect((await on.counts(queue)).active).toBeLessThanOrEqual(4)
  }
  await tusk.queue(queue).configure({ concurrency: null })
  await waitFor(() => gate.arrived.length === 12)
  gate.open()
  await waitFor(async () => (await on.counts(queue)).completed === 12)
})

test("of two limits the narrower holds", async () => {
  const tusk = on.open()
  const queue = on.name("q")
  const gate = new Gate()
  const narrow = task({ name: on.name("narrow"), queue, concurrency: { limit: 2 }, rateLimit: { limit: 3, per: "1h" } }, () =>
    gate.pass("x", currentJob().signal),
  )
  await tusk.work({ queues: { [queue]: 10 }, drainTimeout: 2 })
  const jobs = await narrow.enqueueMany(Array.from({ length: 5 }, () => []))
  await waitFor(() => gate.arrived.length === 2)
  await waitFor(async () => (await jobs[4]!.explain()).reasons[0]?.code === "concurrency")
  expect(gate.arrived).toHaveLength(2)
  gate.open()
  await waitFor(async () => (await on.counts(queue)).completed === 3)
  await waitFor(async () => (await jobs[4]!.explain()).reasons[0]?.code === "rate-limit")
  expect(await on.counts(queue)).toEqual({ completed: 3, waiting: 2 })
})

test("a paused queue starts nothing, under limits too", async () => {
  const tusk = on.open()
  const queue = on.name("q")
  const limited = task({ name: on.name("limited"), queue, concurrency: { limit: 2 } }, () => "ran")
  await tusk.work({ queues: [queue], poll: "50ms" })
  await tusk.queue(queue).configure({ concurrency: 5 })
  await tusk.queue(queue).pause()
  const job = await limited.enqueue()
  const polled = on.name("other")
  const other = task({ name: polled, queue: polled }, () => "ran")
  await on.work({ queues: [polled] })
  await (await other.enqueue()).result({ timeout: 10 })
  expect(await job.state()).toBe("waiting")
  await tusk.queue(queue).resume()
  expect(await job.result({ timeout: 10 })).toBe("ran")
})

test("a place that becomes free is taken at once, without polling, also when its worker is full", async () => {
  const queue = on.name("q")
  const other = on.name("q")
  const gate = new Gate()
  const held = task({ name: on.name("held"), queue, concurrency: { limit: 1 } }, () => gate.pass("held", currentJob().signal))
  const plain = task({ name: on.name("plain"), queue: other }, () => gate.pass("plain", currentJob().signal))
  // One slot for all queues: when the limited run ends, plain jobs take it.
  const full = on.open()
  await full.work({ queues: { [queue]: 1, [other]: 1 }, concurrency: 1, poll: "5m", drainTimeout: 2 })
  const first = await held.with({ via: full }).enqueue()
  await waitFor(() => gate.waiting === 1)
  await plain.with({ via: full }).enqueueMany([[], [], []])
  const idle = on.open()
  await idle.work({ queues: { [queue]: 5 }, poll: "5m", drainTimeout: 2 })
  const second = await held.with({ via: idle }).enqueue()
  await waitFor(async () => (await second.explain()).reasons[0]?.code === "concurrency")
  gate.letOne()
  await reaches(first, "completed")
  await reaches(second, "active")
  gate.open()
  await second.result({ timeout: 10 })
})

test("a running job that is removed makes room", async () => {
  const tusk = on.open()
  const queue = on.name("q")
  const gate = new Gate()
  const held = task({ name: on.name("held"), queue, concurrency: { limit: 1 } }, () => gate.pass("held", currentJob().signal))
  await tusk.work({ queues: { [queue]: 5 }, poll: "5m", drainTimeout: 2 })
  const [first, second] = await held.enqueueMany([[], []])
  await reaches(first!, "active")
  await waitFor(async () => (await second!.explain()).reasons[0]?.code === "concurrency")
  await first!.remove()
  await reaches(second!, "active")
  gate.open()
})
