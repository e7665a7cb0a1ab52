/** pg-boss, which keeps finished jobs in the table of the live ones. */
import { PgBoss, type WorkOptions } from "pg-boss"
import { Database } from "./database.js"
import { type Contestant, FLEET_SLOTS, type FleetWorker, type Servers, type Store, type Use } from "./peer.js"

interface Settings {
  readonly listen: boolean
  readonly work: WorkOptions
  /** Loops of its own for jobs that run one at a time: batches would run together. */
  readonly serial: WorkOptions
}

const STOCK: Settings = { listen: false, work: {}, serial: {} }
const TUNED: Settings = {
  listen: true,
  // The poll is for delayed jobs, of which nothing is notified: by default it is 30 s while it listens.
  work: { localConcurrency: 4, batchSize: 1_000, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5, notifyPollingIntervalSeconds: 0.5 },
  // Nothing wakes it when the running one ends, so the shortest poll that it allows.
  serial: { localConcurrency: 4, pollingIntervalSeconds: 0.5, notifyPollingIntervalSeconds: 0.5 },
}
const QUEUES: Readonly<Record<Use, string>> = { plain: "bench", unkept: "bench", serial: "bench_serial" }

function opener(settings: Settings) {
  return async ({ postgres }: Servers, use: Use): Promise<Store> => {
    const boss = new PgBoss({ connectionString: postgres, useListenNotify: settings.listen })
    boss.on("error", (error) => process.stderr.write(`pg-boss: ${error.message}\n`))
    await boss.start()
    const queue = QUEUES[use]
    if ((await boss.getQueue(queue)) === null)
      await boss.createQueue(queue, { ...(settings.listen && { notify: true }), ...(use === "serial" && { policy: "singleton" }) })
    const database = await Database.open(postgres)
    return {
      clear: async () => {
        await boss.deleteAllJobs(queue)
      },
      add: (n, at) => boss.send(queue, { n }, at === undefined ? {} : { startAfter: at }),
      addMany: (numbers) =>
        boss.insert(
          queue,
          numbers.map((n) => ({ data: { n } })),
        ),
      async work(run) {
        const options: WorkOptions = use === "serial" ? settings.serial : settings.work
        await boss.work<{ n: number }>(queue, options, async (jobs) => {
          await Promise.all(jobs.map(({ data }) => run(data.n)))
        })
        return { stop: () => boss.offWork(queue, { wait: true }) }
      },
      unfinished: () => database.number("select count(*) from pgboss.job where name = $1 and state < 'completed'", [queue]),
      finished: () => database.number("select count(*) from pgboss.job where name = $1 and state = 'completed'", [queue]),
      addInTransaction: (client, n) => boss.send(queue, { n }, { db: { executeSql: (text, values) => client.query(text, values) } }),
      async close() {
        await boss.stop({ graceful: false })
        await database.close()
      },
    }
  }
}

async function workAlone({ postgres }: Servers, run: (n: number) => unknown): Promise<FleetWorker> {
  const boss = new PgBoss({ connectionString: postgres, useListenNotify: true })
  boss.on("error", (error) => process.stderr.write(`pg-boss: ${error.message}\n`))
  await boss.start()
  await boss.work<{ n: number }>(QUEUES.plain, { localConcurrency: FLEET_SLOTS }, async (jobs) => {
    await Promise.all(jobs.map(({ data }) => run(data.n)))
  })
  return { stop: () => boss.stop() }
}

export const contestants: readonly Contestant[] = [
  {
    name: "pg-boss",
    peer: "pg-boss",
    settings: "stock: 1 loop, a job at a time, polls every 2 s; keeps finished jobs for 7 days",
    drains: 0.5,
    concurrency: 1,
    uses: ["plain", "serial"],
    open: opener(STOCK),
  },
  {
    name: "pg-boss-tuned",
    peer: "pg-boss",
    settings:
      "4 loops, `batchSize: 1000`, `burstWhenBatchFull`, LISTEN/NOTIFY on the instance and on the queue, a poll every 0.5 s beside; keeps finished jobs for 7 days",
    drains: 8_000,
    concurrency: 4_000,
    uses: ["plain", "serial"],
    fleet: {
      settings: `${FLEET_SLOTS} loops that take a job at a time, LISTEN/NOTIFY, stock polls (30 s beside notifications)`,
      claims: String.raw`query ~* 'with\s+next as' and query ~* 'skip locked'`,
      channels: "select 'pgboss_' || left(encode(sha224('pgboss'), 'hex'), 24) as channel",
      work: workAlone,
    },
    open: opener(TUNED),
  },
]
