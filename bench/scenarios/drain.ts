/** Jobs wait, one process works them off. */
import type { Contestant, Use } from "../peers/peer.js"
import { Executions } from "./executions.js"
import { type Context, clock, fill, type Metrics, type Scenario, share, withStore } from "./scenario.js"

async function measure(contestant: Contestant, context: Context, use: Use): Promise<Metrics> {
  const jobs = share(contestant, context)
  return withStore(contestant, context, use, async (store, database) => {
    await fill(store, database, jobs)
    const executions = new Executions(jobs)
    const log = async (): Promise<number> => database.number("select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8")
    const logBefore = await log()
    const cpuBefore = process.cpuUsage()
    const began = clock()
    const worker = await store.work((n) => executions.add(n))
    await executions.all(contestant)
    let ended = executions.lastAt
    if (worker.recorded !== undefined) {
      await worker.recorded()
      ended = clock()
    }
    const cpu = process.cpuUsage(cpuBefore)
    const logged = (await log()) - logBefore
    await worker.stop()
    await executions.verify(contestant, store)
    const kept = await store.finished()
    if (contestant.peer === "pgtusk" && kept !== (use === "unkept" ? 0 : jobs)) throw new Error(`pgtusk: ${kept} of ${jobs} jobs are in the history`)
    return {
      jobsPerSecond: (jobs / (ended - began)) * 1_000,
      jobs,
      cpuMicrosecondsPerJob: (cpu.user + cpu.system) / jobs,
      ...(contestant.redis === undefined ? { walBytesPerJob: logged / jobs } : {}),
    }
  })
}

const common = {
  metric: "jobsPerSecond",
  shown: ["jobs", "walBytesPerJob", "cpuMicrosecondsPerJob"],
  better: "higher",
  warm: true,
  jobs: 100_000,
} as const

export const drain: Scenario = {
  ...common,
  name: "drain",
  title: "drain: no-op jobs waiting, one process",
  takes: () => true,
  measure: (contestant, context) => measure(contestant, context, "plain"),
}

export const drainUnkept: Scenario = {
  ...common,
  name: "drain-unkept",
  title: "drain, finished jobs dropped at once",
  takes: (contestant) => contestant.uses.includes("unkept") && contestant.drains > 5_000,
  measure: (contestant, context) => measure(contestant, context, "unkept"),
}
