import { expect, test } from "vitest"
import { task } from "../../src/index.js"
import { seeded } from "../support/seed.js"
import { within } from "../support/wait.js"
import { bench, openTusk, startWorker } from "./setup.js"

const on = bench()
const ends = new Map<string, number>()
const starts: { name: string; at: number }[] = []
let clock = 0
const part = task({ name: "part", queue: "parts" }, async (name: string) => {
  // Ends in another order than they began.
  await new Promise((resolve) => setTimeout(resolve, name.length % 7))
  ends.set(name, ++clock)
})
const join = task({ name: "join", queue: "joins" }, async (name: string, parts: string[]) => {
  starts.push({ name, at: ++clock })
  return parts.filter((one) => !ends.has(one))
})

test("I5: 200 joins of 4 parents each, settled by concurrent workers, start after all of their parents, and exactly once", async () => {
  const random = seeded()
  // Parents are shared and in any order, half of them are worked while the joins are still being stored.
  const names = Array.from({ length: 300 }, (_, i) => `part ${"x".repeat(i % 9)}${i}`)
  const tusks = Array.from({ length: 3 }, () => openTusk({ connectionString: on.db.url }))
  const jobs = await part.with({ via: on.tusk }).enqueueMany(names.map((name) => [name]))
  const ids = new Map(names.map((name, i) => [name, jobs[i]!.id]))
  for (const tusk of tusks) await startWorker(tusk, { queues: { parts: 8, joins: 8 } })
  const joins = await Promise.all(
    Array.from({ length: 200 }, async (_, i) => {
      const parts = random.shuffle(names).slice(0, 4)
      const job = await join.with({ via: tusks[i % 3]!, dependsOn: parts.map((name) => ids.get(name)!) }).enqueue(`join ${i}`, parts)
      return { job, parts }
    }),
  )
  const results = await within(Promise.all(joins.map(({ job }) => job.result())), 25_000, "200 joins to end")
  // None saw a parent that had not ended.
  expect(results.flat()).toEqual([])
  expect(starts).toHaveLength(200)
  expect(new Set(starts.map((start) => start.name)).size).toBe(200)
  const [left] = await on.db.query("select (select count(*)::int from tusk.jobs) as jobs, (select count(*)::int from tusk.job_dependencies) as edges")
  expect(left).toEqual({ jobs: 0, edges: 0 })
  const attempts = await on.db.query("select distinct attempt from tusk.finished_jobs where task = 'join'")
  expect(attempts).toEqual([{ attempt: 1 }])
  expect(await on.db.query("select deadlocks::int from pg_stat_database where datname = current_database()")).toEqual([{ deadlocks: 0 }])
})
