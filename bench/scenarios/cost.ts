/** What a job costs the server, from its insertion to the record of its end, and what is left of it. */
import { readFileSync } from "node:fs"
import type { Database } from "../peers/database.js"
import { RemoteWorker } from "../remote-worker.js"
import { Executions } from "./executions.js"
import { add, fill, type Metrics, oneOfEach, rest, type Scenario, share, sleep, withStore } from "./scenario.js"

interface Logged {
  readonly bytes: number
  readonly commits: number
  /** Rows written to tables, and entries to indexes. */
  readonly heap: number
  readonly index: number
}

const size = (database: Database): Promise<number> => database.number("select pg_database_size(current_database())")

/** What the server's log says of some work; all contestants' is read alike. A checkpoint inside of it would take the log away. */
async function logged(database: Database, work: () => Promise<unknown>): Promise<Logged> {
  await database.run("create extension if not exists pg_walinspect")
  const [{ at: from }] = await database.run("select pg_current_wal_insert_lsn()::text as at")
  await work()
  // The last commits may not wait for the disk.
  await sleep(500)
  const [row] = await database.run(
    `select pg_wal_lsn_diff(pg_current_wal_flush_lsn(), $1::pg_lsn)::float8 as bytes,
       coalesce(sum(count) filter (where name like 'Transaction/COMMIT%'), 0)::float8 as commits,
       coalesce(sum(count) filter (where name ~ '^Heap2?/(INSERT|MULTI_INSERT|UPDATE|HOT_UPDATE|DELETE)'), 0)::float8 as heap,
       coalesce(sum(count) filter (where name ~ '^Btree/(INSERT|SPLIT|NEWROOT)'), 0)::float8 as index
     from (select "resource_manager/record_type" as name, count from pg_get_wal_stats($1::pg_lsn, pg_current_wal_flush_lsn(), true)) s`,
    [from],
  )
  return row
}

/** The most memory that a process has had, in MiB. */
function mostMemory(pid: number): number {
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]) / 1024
}

export const cost: Scenario = {
  name: "cost",
  title: "what a job costs",
  metric: "walBytesPerJob",
  shown: ["commitsPerJob", "tableWritesPerJob", "indexWritesPerJob", "bytesPerWaitingJob", "bytesPerFinishedJob", "workerMb", "jobs"],
  better: "lower",
  jobs: 100_000,
  rounds: 1,
  // pg_walinspect.
  needs: { postgres: 15 },
  takes: (contestant) => contestant.redis === undefined && (oneOfEach(contestant) || contestant.name === "floor"),
  async measure(contestant, context): Promise<Metrics> {
    const jobs = share(contestant, context, 4)
    return withStore(contestant, context, "plain", async (store, database) => {
      await rest(database)
      await database.run("vacuum full")
      const empty = await size(database)
      const stored = await logged(database, () => add(store, jobs))
      const waiting = (await size(database)) - empty
      await rest(database)
      const executions = new Executions(jobs)
      const ended = await logged(database, async () => {
        const worker = await store.work((n) => executions.add(n))
        await executions.all(contestant)
        await worker.recorded?.()
        await worker.stop()
      })
      await executions.verify(contestant, store)
      await database.run("vacuum full")
      const finished = (await size(database)) - empty
      await fill(store, database, jobs)
      const remote = await RemoteWorker.prepare(contestant, context.servers, 5, "count")
      try {
        await remote.start()
        await sleep(1_500)
        return {
          walBytesPerJob: (stored.bytes + ended.bytes) / jobs,
          commitsPerJob: (stored.commits + ended.commits) / jobs,
          tableWritesPerJob: (stored.heap + ended.heap) / jobs,
          indexWritesPerJob: (stored.index + ended.index) / jobs,
          bytesPerWaitingJob: waiting / jobs,
          bytesPerFinishedJob: Math.max(0, finished) / jobs,
          workerMb: mostMemory(remote.pid),
          jobs,
        }
      } finally {
        remote.kill()
        // Its sessions end, and with them what they hold.
        await sleep(300)
      }
    })
  },
}
