import { expect, test } from "vitest"
import { task } from "../../src/index.js"
import { waitFor } from "../support/wait.js"
import { ground } from "./ground.js"
import { enqueue, workerProcess } from "./processes.js"

const g = ground()
const SHORT = { lease: 2, poll: "500ms" } as const

test("I2: a worker that was stopped for longer than its lease records nothing stale: its run is aborted, its outcome fenced off", async () => {
  const queue = g.name("q")
  const tusk = g.open()
  const stopped = await workerProcess(g.db.url, { queue, options: SHORT })
  const jobs = [await enqueue(tusk, queue, "hold"), await enqueue(tusk, queue, "ignore")] as const
  for (const job of jobs) await stopped.line(`began ${job.id} attempt=1`)
  const other = await workerProcess(g.db.url, { queue, options: SHORT })
  stopped.kill("SIGSTOP")
  const fences: bigint[] = []
  for (const job of jobs) {
    const began = await other.line(`began ${job.id} attempt=2`)
    fences.push(BigInt(/fence=(\d+)/.exec(began)![1]!))
  }
  // It wakes up, and its handlers return at once: with results that are too late.
  stopped.kill("SIGCONT")
  stopped.send("open")
  await stopped.line(`aborted ${jobs[1].id} LeaseLostError`)
  await waitFor(() => stopped.lines.some((line) => line.startsWith("log warn")))
  for (const [i, job] of jobs.entries()) {
    expect(await job.snapshot()).toMatchObject({ state: "active", attempt: 2, worker: other.workerId, result: undefined })
    const first = stopped.lines.find((line) => line.startsWith(`began ${job.id}`))!
    expect(fences[i]! > BigInt(/fence=(\d+)/.exec(first)![1]!)).toBe(true)
  }
  other.send("open")
  for (const job of jobs) expect(await job.result({ timeout: 10 })).toBe(other.pid)
  // The first is a worker again, under its old id.
  other.kill("SIGKILL")
  const next = await enqueue(tusk, queue, "quick", [7])
  expect(await next.result({ timeout: 20 })).toBe(7)
  await waitFor(async () => (await next.snapshot()).worker === stopped.workerId)
}, 60_000)

test.each([
  { order: [0, 1], what: "the stale one first" },
  { order: [1, 0], what: "the stale one last" },
])("I2: two runs of a job in one worker that end in the same turn, $what: each is told its own outcome", async ({ order }) => {
  const queue = g.name("q")
  const ends: (() => void)[] = []
  const held = task({ name: g.name("held"), queue }, async () => {
    const own = ends.length
    await new Promise<void>((resolve) => ends.push(resolve))
    return own
  })
  const tusk = g.open()
  const completed: string[] = []
  tusk.events.on("job:completed", ({ id }) => void completed.push(id))
  await tusk.work({ queues: [queue], poll: "200ms" })
  const job = await held.enqueue()
  await waitFor(() => ends.length === 1)
  // As a rescue would, long before the next beat tells the worker.
  await g.db.query("update tusk.jobs set state = 'waiting', lease = null, worker_id = null, started_at = null where id = $1", [job.id])
  await waitFor(() => ends.length === 2)
  for (const run of order) ends[run]!()
  expect(await job.result({ timeout: 10 })).toBe(1)
  // Besides, this worker may take back what the one of another test has left.
  const late = (): string[] => g.messages("warn").filter((message) => !/taken back/.test(message))
  await waitFor(() => late().length > 0)
  expect(completed).toEqual([job.id])
  expect(late()).toEqual([expect.stringMatching(/came too late/)])
})
