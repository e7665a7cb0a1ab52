/** The drain with workers in processes of their own: one, and then two. */
import type { Contestant } from "../peers/peer.js"
import { RemoteWorker } from "../remote-worker.js"
import { Executions } from "./executions.js"
import { type Context, clock, fill, type Metrics, type Scenario, share, withStore } from "./scenario.js"

interface Drained {
  readonly jobsPerSecond: number
  /** Sessions seen waiting for a lock of another, in looks every 20 ms: on a job, a transaction, a table, or by advice. */
  readonly lockWaits: number
  /** And to make a table or an index longer, which one session may do at a time. */
  readonly extendWaits: number
}

async function drainWith(processes: number, contestant: Contestant, context: Context, jobs: number): Promise<Drained> {
  return withStore(contestant, context, "plain", async (store, database) => {
    await fill(store, database, jobs)
    const workers = await Promise.all(Array.from({ length: processes }, () => RemoteWorker.prepare(contestant, context.servers, 0, "count")))
    try {
      const done = new Promise<void>((resolve, reject) => {
        const late = setTimeout(() => reject(new Error(`${contestant.name}: the jobs had not run after 120 s`)), 120_000)
        for (const worker of workers)
          worker.onCount = () => {
            if (workers.reduce((sum, { count }) => sum + count, 0) < jobs) return
            clearTimeout(late)
            resolve()
          }
      })
      let [lockWaits, extendWaits] = [0, 0]
      const looks = setInterval(async () => {
        const [seen] = await database.run(
          `select count(*) filter (where wait_event <> 'extend')::integer as locks, count(*) filter (where wait_event = 'extend')::integer as extends
           from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
        )
        lockWaits += seen.locks
        extendWaits += seen.extends
      }, 20)
      const began = clock()
      await Promise.all(workers.map((worker) => worker.start()))
      await done
      clearInterval(looks)
      const ended = await Promise.all(workers.map((worker) => worker.stop()))
      const executions = new Executions(jobs)
      for (const { ran } of ended) for (const n of ran) executions.add(n)
      await executions.verify(contestant, store)
      return { jobsPerSecond: (jobs / (Math.max(...ended.map(({ endedAt }) => endedAt)) - began)) * 1_000, lockWaits, extendWaits }
    } finally {
      for (const worker of workers) worker.kill()
    }
  })
}

export const twoProcesses: Scenario = {
  name: "drain-two-processes",
  title: "drain, two processes",
  metric: "jobsPerSecond",
  shown: ["oneProcess", "speedup", "lockWaits", "extendWaits", "jobs"],
  better: "higher",
  jobs: 100_000,
  takes: ({ drains, redis }) => drains > 5_000 && redis !== "always",
  async measure(contestant, context): Promise<Metrics> {
    const jobs = share(contestant, context)
    const one = await drainWith(1, contestant, context, jobs)
    const two = await drainWith(2, contestant, context, jobs)
    return {
      jobsPerSecond: two.jobsPerSecond,
      oneProcess: one.jobsPerSecond,
      speedup: two.jobsPerSecond / one.jobsPerSecond,
      lockWaits: two.lockWaits,
      extendWaits: two.extendWaits,
      jobs,
    }
  },
}
