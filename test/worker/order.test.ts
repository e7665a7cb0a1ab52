/** A hint tells of one lane from one seq on. It must not decide the order while the worker does not know what else waits. */
import { describe, expect, test } from "vitest"
import { task } from "../../src/index.js"
import { waitFor } from "../support/wait.js"
import { ground } from "./ground.js"

const g = ground()

/** Jobs as a stranger enqueues them, and the order in which they have to run. */
const MIXED: readonly (readonly [label: string, priority: number])[] = [
  ["a", 5],
  ["b", 0],
  ["c", 0],
  ["d", 4],
  ["e", -7],
  ["f", 5],
]
const IN_ORDER = ["e", "b", "c", "d", "a", "f"]

function noting(options: object = {}) {
  const queue = g.name("q")
  const order: string[] = []
  g.open()
  const note = task({ name: g.name("t"), queue, ...options }, (label: string) => void order.push(label))
  const enqueue = async (): Promise<void> => {
    for (const [label, priority] of MIXED) await note.with({ priority }).enqueue(label)
  }
  const ran = async (): Promise<readonly string[]> => {
    await waitFor(() => order.length === MIXED.length, { what: "all jobs to run" })
    return order.splice(0)
  }
  return { queue, note, enqueue, ran }
}

describe("jobs run in the order of priority and enqueueing", () => {
  test("when the worker starts while the hint of the last job is still to come", async () => {
    for (let round = 0; round < 10; round++) {
      const { queue, enqueue, ran } = noting()
      await enqueue()
      const worker = await g.work({ queues: { [queue]: 1 } })
      expect(await ran()).toEqual(IN_ORDER)
      await worker.stop()
    }
  })

  test("when the worker is resumed, and when the queue is", async () => {
    const { queue, enqueue, ran } = noting()
    const worker = await g.work({ queues: { [queue]: 1 } })
    for (let round = 0; round < 5; round++) {
      worker.pause()
      await enqueue()
      worker.resume()
      expect(await ran()).toEqual(IN_ORDER)
      await g.open().queue(queue).pause()
      await enqueue()
      await g.open().queue(queue).resume()
      expect(await ran()).toEqual(IN_ORDER)
    }
  })

  test("when the queue gets a limit, and loses it", async () => {
    const { queue, enqueue, ran } = noting()
    await enqueue()
    await g.open().queue(queue).configure({ concurrency: 1 })
    await g.work({ queues: { [queue]: 1 } })
    expect(await ran()).toEqual(IN_ORDER)
    await g.open().queue(queue).pause()
    await enqueue()
    await g.open().queue(queue).configure({ concurrency: null })
    await g.open().queue(queue).resume()
    expect(await ran()).toEqual(IN_ORDER)
  })

  test("when the only slot was taken while they came", async () => {
    const { queue, enqueue, ran } = noting()
    let go = (): void => undefined
    const held = new Promise<void>((resolve) => {
      go = resolve
    })
    let begun = false
    const hold = task({ name: g.name("hold"), queue }, async () => {
      begun = true
      await held
    })
    await g.work({ queues: { [queue]: 1 } })
    await hold.enqueue()
    await waitFor(() => begun)
    await enqueue()
    go()
    expect(await ran()).toEqual(IN_ORDER)
  })

  test("when their task has a limit", async () => {
    const { queue, enqueue, ran } = noting({ concurrency: { limit: 1 } })
    await enqueue()
    await g.work({ queues: { [queue]: 1 } })
    expect(await ran()).toEqual(IN_ORDER)
  })

  test("when two workers were busy, and each had heard of other jobs", async () => {
    const queue = g.name("q")
    const order: string[] = []
    let open = false
    const gates: (() => void)[] = []
    const run = task({ name: g.name("t"), queue }, async (label: string) => {
      order.push(label)
      if (!open) await new Promise<void>((resolve) => gates.push(resolve))
    })
    // Clients of their own: as if in two processes, which share no hints.
    await Promise.all([g.work({ queues: { [queue]: 1 }, poll: "60s" }), g.work({ queues: { [queue]: 1 }, poll: "60s" })])
    await run.enqueueMany([["held 1"], ["held 2"]])
    await waitFor(() => order.length === 2)
    // Until another look is affordable: after twenty times the last one, which takes tens of milliseconds on a busy machine.
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    for (const [label, priority] of MIXED) await run.with({ priority }).enqueue(label)
    // One of them goes on, and must begin with the best of all, whoever was notified of it.
    gates.shift()!()
    await waitFor(() => order.length === 3)
    expect(order[2]).toBe("e")
    open = true
    for (const gate of gates.splice(0)) gate()
    await waitFor(() => order.length === 2 + MIXED.length)
  })
})
