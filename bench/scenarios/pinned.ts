/** The drain while somebody holds an old snapshot: nothing that was deleted can be vacuumed. */
import { Database } from "../peers/database.js"
import { Executions } from "./executions.js"
import { clock, fill, type Metrics, type Scenario, share, withStore } from "./scenario.js"

const TENTHS = 10

/**
 * Buffers that claims have read, and the jobs that they have got. Every contestant's claim is the one statement with SKIP LOCKED, but pgtusk's: that is
 * inside a function, and what counts is the call.
 */
const CLAIMS = `select coalesce(sum(shared_blks_hit + shared_blks_read), 0)::float8 as buffers, coalesce(sum(rows), 0)::float8 as rows
  from pg_stat_statements where dbid = (select oid from pg_database where datname = current_database())
    and (query ilike '%skip locked%' or query ~ 'tusk"?\\.claim\\(') and query not ilike '%pg_stat_statements%' and rows > 0`

interface Mark {
  readonly at: number
  readonly buffers: number
  readonly rows: number
}

export const pinned: Scenario = {
  name: "pinned",
  title: "drain while an old snapshot is held",
  metric: "lastToFirstTenth",
  shown: ["lastToBestTenth", "jobsPerSecond", "firstTenthPerSecond", "lastTenthPerSecond", "claimBuffersFirst", "claimBuffersLast", "jobs"],
  better: "higher",
  jobs: 500_000,
  rounds: 1,
  takes: ({ redis, drains }) => redis === undefined && drains > 5_000,
  async measure(contestant, context): Promise<Metrics> {
    const jobs = share(contestant, context, 4)
    const counts = context.servers.statements
    return withStore(contestant, context, "plain", async (store, database) => {
      await fill(store, database, jobs)
      const holder = await Database.open(context.servers.postgres)
      try {
        await holder.run("begin isolation level repeatable read")
        await holder.run("select txid_current_snapshot()")
        const marks: Promise<Mark>[] = []
        const mark = async (): Promise<Mark> => {
          const at = clock()
          const [row] = counts ? await database.run(CLAIMS) : [{ buffers: 0, rows: 0 }]
          return { at, ...row }
        }
        if (counts) await database.run("select pg_stat_statements_reset()")
        const executions = new Executions(jobs)
        marks.push(mark())
        const worker = await store.work((n) => {
          executions.add(n)
          if (executions.ran >= Math.floor((marks.length * jobs) / TENTHS)) marks.push(mark())
        })
        await executions.all(contestant)
        await worker.recorded?.()
        const all = await Promise.all(marks)
        await worker.stop()
        await executions.verify(contestant, store)
        if (counts && all[TENTHS]!.rows === 0) throw new Error(`${contestant.name}: none of its statements is known as its claim`)
        const rate = (tenth: number): number => (jobs / TENTHS / (all[tenth + 1]!.at - all[tenth]!.at)) * 1_000
        const buffers = (tenth: number): number =>
          (all[tenth + 1]!.buffers - all[tenth]!.buffers) / Math.max(1, all[tenth + 1]!.rows - all[tenth]!.rows)
        return {
          // The first tenth starts cold, which flatters; the best one does not.
          lastToFirstTenth: rate(TENTHS - 1) / rate(0),
          lastToBestTenth: rate(TENTHS - 1) / Math.max(...Array.from({ length: TENTHS }, (_, tenth) => rate(tenth))),
          jobsPerSecond: (jobs / (all[TENTHS]!.at - all[0]!.at)) * 1_000,
          firstTenthPerSecond: rate(0),
          lastTenthPerSecond: rate(TENTHS - 1),
          ...(counts ? { claimBuffersFirst: buffers(0), claimBuffersLast: buffers(TENTHS - 1) } : {}),
          jobs,
        }
      } finally {
        await holder.close()
      }
    })
  },
}
