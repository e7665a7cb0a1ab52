/** Jobs that are due later: how late they start, and what a worker does while nothing is due. */
import { percentile } from "../statistics.js"
import { Executions } from "./executions.js"
import { type Metrics, oneOfEach, rest, type Scenario, sleep, withStore } from "./scenario.js"

const WITHIN_MS = 10_000
const IDLE_MS = 3_000

export const delayed: Scenario = {
  name: "delayed",
  title: "delayed: jobs due at random instants within 10 s",
  metric: "latenessP95Ms",
  shown: ["latenessP50Ms", "latenessP99Ms", "idleStatementsPerSecond", "jobs"],
  better: "lower",
  jobs: 1_000,
  mostJobs: 1_000,
  rounds: 1,
  // One of each: it takes 12 s, and no setting of a peer changes it but pg-boss's poll.
  takes: oneOfEach,
  async measure(contestant, context): Promise<Metrics> {
    return withStore(contestant, context, "plain", async (store, database) => {
      await rest(database)
      const due: number[] = []
      const lateness: number[] = []
      const executions = new Executions(context.jobs)
      const worker = await store.work((n) => {
        lateness.push(Date.now() - due[n]!)
        executions.add(n)
      })
      const from = Date.now() + 500
      // Stored in an order that has nothing to do with the one in which they are due.
      for (let n = 0; n < context.jobs; n++) due.push(from + Math.floor(((n * 7_919) % context.jobs) * (WITHIN_MS / context.jobs)))
      for (let i = 0; i < context.jobs; i += 50) await Promise.all(due.slice(i, i + 50).map((at, k) => store.add(i + k, new Date(at))))
      await executions.all(contestant)
      await sleep(500)
      const idle = contestant.redis === undefined && context.servers.statements ? await idleStatements() : {}
      await worker.stop()
      await executions.verify(contestant, store)
      const early = lateness.filter((ms) => ms < -5).length
      if (early > 0) throw new Error(`${contestant.name}: ${early} jobs started before they were due`)
      return {
        latenessP50Ms: percentile(lateness, 0.5),
        latenessP95Ms: percentile(lateness, 0.95),
        latenessP99Ms: percentile(lateness, 0.99),
        jobs: context.jobs,
        ...idle,
      }

      async function idleStatements(): Promise<Metrics> {
        const count = (): Promise<number> =>
          database.number(
            "select coalesce(sum(calls), 0) from pg_stat_statements where dbid = (select oid from pg_database where datname = current_database())",
          )
        const before = await count()
        await sleep(IDLE_MS)
        // Less the question itself.
        return { idleStatementsPerSecond: ((await count()) - before - 1) / (IDLE_MS / 1_000) }
      }
    })
  },
}
