/** BullMQ, on Postgres and on Redis. */
import { createPostgresBackend, Queue, Worker } from "bullmq"
import { type Contestant, type Durability, FLEET_SLOTS, type FleetWorker, type Servers, type Store, type Use } from "./peer.js"

const NAME = "bench"

interface Settings {
  readonly concurrency: number
  readonly unkept: boolean
}

/** The back end is part of their types, and nothing here depends on it. */
type AnyQueue = Pick<Queue, "add" | "addBulk" | "close" | "getJobCountByTypes" | "obliterate" | "setGlobalConcurrency">
type AnyWorker = Pick<Worker, "close"> & { on(event: "error", listener: (error: Error) => void): unknown }

/** The same API on either; only the connections differ. */
function storeOf(queue: AnyQueue, worker: (run: (n: number) => unknown) => AnyWorker, settings: Settings, use: Use): Store {
  const keep = settings.unkept || use === "unkept" ? { removeOnComplete: true } : {}
  const count = async (...states: ("waiting" | "active" | "delayed" | "completed")[]): Promise<number> => queue.getJobCountByTypes(...states)
  return {
    clear: async () => {
      await queue.obliterate({ force: true, count: 10_000 })
      if (use === "serial") await queue.setGlobalConcurrency(1)
    },
    add: (n, at) => queue.add("job", { n }, { ...keep, ...(at !== undefined && { delay: Math.max(0, at.getTime() - Date.now()) }) }),
    addMany: (numbers) => queue.addBulk(numbers.map((n) => ({ name: "job", data: { n }, opts: keep }))),
    async work(run) {
      const started = worker(run)
      started.on("error", (error) => process.stderr.write(`bullmq: ${error.message}\n`))
      return { stop: () => started.close() }
    },
    unfinished: () => count("waiting", "active", "delayed"),
    finished: () => count("completed"),
    close: () => queue.close(),
  }
}

function onPostgres(settings: Settings) {
  return async ({ postgres }: Servers, use: Use): Promise<Store> => {
    const connection = { connectionString: postgres, migrate: true, max: Math.min(Math.max(10, settings.concurrency), 32) }
    const queue = new Queue(NAME, { connection }, createPostgresBackend)
    await queue.waitUntilReady()
    const worker = (run: (n: number) => unknown): AnyWorker =>
      new Worker(NAME, async (job) => void (await run(job.data.n)), { connection, concurrency: settings.concurrency }, createPostgresBackend)
    return storeOf(queue, worker, settings, use)
  }
}

async function workAlone({ postgres }: Servers, run: (n: number) => unknown): Promise<FleetWorker> {
  const connection = { connectionString: postgres, migrate: false }
  const worker = new Worker(NAME, async (job) => void (await run(job.data.n)), { connection, concurrency: FLEET_SLOTS }, createPostgresBackend)
  worker.on("error", (error) => process.stderr.write(`bullmq: ${error.message}\n`))
  await worker.waitUntilReady()
  return { stop: () => worker.close() }
}

function onRedis(durability: Durability, settings: Settings) {
  return async ({ redis }: Servers, use: Use): Promise<Store> => {
    const connection = { host: "127.0.0.1", port: redis[durability]! }
    const queue = new Queue(NAME, { connection })
    await queue.waitUntilReady()
    const worker = (run: (n: number) => unknown): AnyWorker =>
      new Worker(NAME, async (job) => void (await run(job.data.n)), { connection, concurrency: settings.concurrency })
    return storeOf(queue, worker, settings, use)
  }
}

const uses: readonly Use[] = ["plain", "unkept", "serial"]
const KEPT = "keeps finished jobs for ever"
const STOCK: Settings = { concurrency: 1, unkept: false }

function onRedisAt(durability: Durability, tunedDrains: number): Contestant[] {
  const suffix = durability === "no" ? "" : "-aof"
  const durable = durability === "no" ? "Redis with `appendonly no`" : "Redis with `appendonly yes`, `appendfsync always`"
  const common = { peer: "bullmq-redis", redis: durability, uses }
  return [
    {
      ...common,
      name: `bullmq-redis${suffix}`,
      settings: `${durable}; stock: 1 job at once; ${KEPT}`,
      drains: durability === "no" ? 3_000 : 500,
      concurrency: STOCK.concurrency,
      open: onRedis(durability, STOCK),
    },
    {
      ...common,
      name: `bullmq-redis${suffix}-tuned`,
      settings: `${durable}; 100 jobs at once, \`removeOnComplete: true\``,
      drains: tunedDrains,
      concurrency: 100,
      open: onRedis(durability, { concurrency: 100, unkept: true }),
    },
  ]
}

export const contestants: readonly Contestant[] = [
  {
    name: "bullmq-postgres",
    peer: "bullmq-postgres",
    settings: `stock: 1 job at once; ${KEPT}`,
    drains: 250,
    concurrency: STOCK.concurrency,
    uses,
    fleet: {
      settings: `${FLEET_SLOTS} jobs at once, stock pool`,
      claims: "query ilike '%move_to_active(%' or query ~* 'move_to_\\w+_fetch'",
      channels: "select 'bullmq_jobs' as channel",
      work: workAlone,
    },
    open: onPostgres(STOCK),
  },
  {
    name: "bullmq-postgres-tuned",
    peer: "bullmq-postgres",
    settings: "32 jobs at once, pool of 32, `removeOnComplete: true`",
    drains: 1_000,
    concurrency: 32,
    uses,
    open: onPostgres({ concurrency: 32, unkept: true }),
  },
  ...onRedisAt("no", 16_000),
  ...onRedisAt("always", 8_000),
]
