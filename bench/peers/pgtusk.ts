/** pgtusk at its stock settings; it has no others here. */
import type { BoundTask, Logger, Task } from "../../src/index.js"
import { library } from "../library.js"
import { Database } from "./database.js"
import type { Contestant, FleetWorker, Servers, Store, TransactionClient, Use, Worker } from "./peer.js"

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {} }

let handler: (n: number) => unknown = () => undefined
const tasks = new Map<Use, Task<[n: number]>>()

/** A process defines a task once, however often the store is opened. */
async function taskFor(use: Use): Promise<Task<[n: number]>> {
  const { task } = await library()
  const known = tasks.get(use)
  if (known !== undefined) return known
  const more = use === "unkept" ? { keep: { completed: false as const } } : use === "serial" ? { concurrency: { limit: 1, key: () => "one" } } : {}
  const made: Task<[n: number]> = task({ name: `bench.${use}`, ...more }, async (n: number) => handler(n))
  tasks.set(use, made)
  return made
}

async function open(servers: Servers, use: Use): Promise<Store> {
  const { Tusk } = await library()
  const tusk = new Tusk({ connectionString: servers.postgres, logger: silent, signals: false })
  await tusk.migrate()
  const bound: BoundTask<[n: number], unknown> = (await taskFor(use)).with({ via: tusk })
  const database = await Database.open(servers.postgres)
  return {
    clear: async () => {
      await database.run("truncate tusk.jobs, tusk.finished_jobs, tusk.keys, tusk.job_dependencies")
    },
    add: (n, at) => (at === undefined ? bound.enqueue(n) : bound.with({ delay: at }).enqueue(n)),
    addMany: (numbers) => bound.enqueueMany(numbers.map((n): [number] => [n])),
    async work(run): Promise<Worker> {
      handler = run
      const worker = await tusk.work()
      return { recorded: () => worker.drain(), stop: () => worker.drain() }
    },
    unfinished: () => database.number("select count(*) from tusk.jobs"),
    finished: () => database.number("select count(*) from tusk.finished_jobs where state = 'completed'"),
    addInTransaction: (client: TransactionClient, n, quietly) =>
      (quietly ? bound.with({ tx: client, wake: "poll" }) : bound.with({ tx: client })).enqueue(n),
    async close() {
      await tusk.close()
      await database.close()
    },
  }
}

async function workAlone(servers: Servers, run: (n: number) => unknown): Promise<FleetWorker> {
  const { Tusk } = await library()
  handler = run
  await taskFor("plain")
  const tusk = new Tusk({ connectionString: servers.postgres, logger: silent, signals: false })
  const worker = await tusk.work()
  return { pause: () => worker.pause(), resume: () => worker.resume(), stop: () => tusk.close() }
}

export const contestants: readonly Contestant[] = [
  {
    name: "pgtusk",
    peer: "pgtusk",
    settings: "stock: `configure(url)`, `tusk.work()` (10 jobs at once); finished jobs kept for a day",
    drains: Number.POSITIVE_INFINITY,
    concurrency: 10,
    uses: ["plain", "unkept", "serial"],
    fleet: {
      settings: "stock",
      claims: String.raw`query ~ 'tusk"?\.claim\w*\('`,
      channels: "select 'pgtusk:tusk' as channel union all select 'pgtusk:' || id from tusk.workers",
      work: workAlone,
    },
    open,
  },
]
