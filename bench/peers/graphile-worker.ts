/** graphile-worker, which keeps no finished jobs. */
import { Logger, makeWorkerUtils, type RunnerOptions, run } from "graphile-worker"
import { Database } from "./database.js"
import { type Contestant, FLEET_SLOTS, type FleetWorker, type Servers, type Store, type Use } from "./peer.js"

/** Its own logger writes a line a job to the console, which nobody would keep in production. */
const logger = new Logger(() => () => undefined)

interface Settings {
  readonly concurrency: number
  readonly preset?: RunnerOptions["preset"]
}

const STOCK: Settings = { concurrency: 1 }
/** Those of its own performance test, and what its documentation says of batching. */
const TUNED: Settings = {
  concurrency: 24,
  preset: { worker: { maxPoolSize: 26, localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 } },
}

function opener(settings: Settings) {
  return async ({ postgres }: Servers, use: Use): Promise<Store> => {
    const utils = await makeWorkerUtils({ connectionString: postgres, logger })
    await utils.migrate()
    const database = await Database.open(postgres)
    const spec = use === "serial" ? { queueName: "one" } : {}
    return {
      clear: async () => {
        await database.run("truncate graphile_worker._private_jobs, graphile_worker._private_job_queues")
      },
      add: (n, at) => utils.addJob("bench", { n }, at === undefined ? spec : { ...spec, runAt: at }),
      addMany: (numbers) => utils.addJobs(numbers.map((n) => ({ identifier: "bench", payload: { n }, ...spec }))),
      async work(handler) {
        const runner = await run({
          connectionString: postgres,
          logger,
          noHandleSignals: true,
          ...(settings.preset === undefined ? {} : { preset: settings.preset, concurrency: settings.concurrency }),
          taskList: {
            bench: async (payload) => {
              await handler((payload as { n: number }).n)
            },
          },
        })
        return { stop: () => runner.stop() }
      },
      unfinished: () => database.number("select count(*) from graphile_worker._private_jobs"),
      finished: async () => 0,
      addInTransaction: (client, n) => client.query("select graphile_worker.add_job('bench', $1::json)", [JSON.stringify({ n })]),
      async close() {
        await utils.release()
        await database.close()
      },
    }
  }
}

async function workAlone({ postgres }: Servers, handler: (n: number) => unknown): Promise<FleetWorker> {
  const runner = await run({
    connectionString: postgres,
    logger,
    noHandleSignals: true,
    concurrency: FLEET_SLOTS,
    taskList: {
      bench: async (payload) => {
        await handler((payload as { n: number }).n)
      },
    },
  })
  return { stop: () => runner.stop() }
}

export const contestants: readonly Contestant[] = [
  {
    name: "graphile-worker",
    peer: "graphile-worker",
    settings: "stock: 1 job at once, no local queue, each completion a statement; keeps no finished jobs; logger off",
    drains: 500,
    concurrency: STOCK.concurrency,
    uses: ["plain", "unkept", "serial"],
    fleet: {
      settings: `${FLEET_SLOTS} jobs at once, stock pool of 10, no local queue`,
      claims: "query ilike '%_private_jobs%' and query ilike '%skip locked%'",
      channels: "select 'jobs:insert' as channel",
      work: workAlone,
    },
    open: opener(STOCK),
  },
  {
    name: "graphile-worker-tuned",
    peer: "graphile-worker",
    settings:
      "24 jobs at once, pool of 26, `localQueue: { size: 500 }`, `completeJobBatchDelay: 0`, `failJobBatchDelay: 0`; keeps no finished jobs; logger off",
    drains: 40_000,
    concurrency: TUNED.concurrency,
    uses: ["plain", "unkept", "serial"],
    open: opener(TUNED),
  },
]
