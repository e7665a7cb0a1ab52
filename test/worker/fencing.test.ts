import { expect, test } from "vitest"
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
