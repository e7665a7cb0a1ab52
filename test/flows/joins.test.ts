/** I5 with real processes: a join of several parents starts after all of them, once, however many workers end them at the same moment. */
import { expect, test } from "vitest"
import type { FlowJob } from "../../src/index.js"
import { spawnScript } from "../support/process.js"
import { waitFor } from "../support/wait.js"
import { ground } from "../worker/ground.js"

const on = ground()
const JOINS = 500
const PARENTS = 4

test("500 joins of 4 parents, two processes with ten slots each: each join runs exactly once", { timeout: 180_000 }, async () => {
  const tusk = on.open()
  await on.db.query("create table runs (job uuid, attempt int, pid int, open int)")
  // Neighbours share two of their parents, so that one end concerns several joins.
  const part = (i: number): string => `part ${i % (JOINS * 2)}`
  const jobs: FlowJob[] = [
    ...Array.from({ length: JOINS * 2 }, (_, i): FlowJob => ({ id: part(i), task: "joins.part", args: [i], options: { queue: "joins" } })),
    ...Array.from(
      { length: JOINS },
      (_, i): FlowJob => ({
        id: `join ${i}`,
        task: "joins.join",
        args: [String(i)],
        dependsOn: Array.from({ length: PARENTS }, (_, k) => part(i * 2 + k)),
        options: { queue: "joins" },
      }),
    ),
  ]
  const workers = [0, 1].map(() => spawnScript(new URL("fixtures/joins.ts", import.meta.url), [], { URL: on.db.url }))
  await Promise.all(workers.map((worker) => worker.line("ready", 60_000)))
  const ids = await tusk.addFlow(jobs)
  const done = async (): Promise<boolean> => ((await on.counts("joins")).completed ?? 0) === jobs.length
  await waitFor(done, { timeout: 90_000, what: "all jobs to complete" })

  const runs = await on.db.query("select job, count(*)::int as n, max(open) as open, max(attempt) as attempt from runs group by job")
  expect(runs).toHaveLength(JOINS)
  expect(new Set(runs.map((run) => run.job))).toEqual(new Set(ids.slice(JOINS * 2)))
  // Once, in its first attempt, and no parent of it was still live then.
  expect(runs.filter((run) => run.n !== 1 || run.open !== 0 || run.attempt !== 1)).toEqual([])
  expect(await on.db.query("select 1 from tusk.job_dependencies")).toEqual([])
  // Both took part.
  expect((await on.db.query("select distinct pid from runs")).length).toBe(2)
})
