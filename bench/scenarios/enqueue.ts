/** Storing jobs, with no worker there. */
import pg from "pg"
import type { Contestant, Store } from "../peers/peer.js"
import { type Context, type Metrics, rest, type Scenario, withStore } from "./scenario.js"

/** Slow ones stop here, once they have stored a few; their rate is as good. */
const LIMIT_MS = 2_500
const FEW = 200
const IN_FLIGHT = 1_000
const BATCH = 1_000
const CONNECTIONS = 32

type Producer = (store: Store, jobs: number, url: string) => Promise<{ stored: number; ms: number }>

/** @throws when not exactly those jobs are there that the calls have stored */
async function measure(contestant: Contestant, context: Context, produce: Producer): Promise<Metrics> {
  return withStore(contestant, context, "plain", async (store, database) => {
    await rest(database)
    // Connections and prepared statements are there before the clock starts.
    await store.add(0)
    const { stored, ms } = await produce(store, context.jobs, context.servers.postgres)
    const there = await store.unfinished()
    if (there !== stored + 1) throw new Error(`${contestant.name}: ${stored} jobs were enqueued and ${there - 1} are there`)
    return { jobsPerSecond: (stored / ms) * 1_000, jobs: stored }
  })
}

/** Calls `once` in so many lanes until there are enough, or the time is over and there are a few. */
async function inLanes(
  lanes: number,
  most: number,
  few: number,
  once: (n: number, lane: number) => Promise<unknown>,
): Promise<{ stored: number; ms: number }> {
  const began = performance.now()
  let stored = 0
  await Promise.all(
    Array.from({ length: lanes }, async (_, lane) => {
      while (stored < most && (stored < few || performance.now() - began < LIMIT_MS)) await once(++stored, lane)
    }),
  )
  return { stored, ms: performance.now() - began }
}

const oneByOne: Producer = (store, jobs) => inLanes(1, jobs, FEW, (n) => store.add(n))

const concurrent: Producer = (store, jobs) => inLanes(IN_FLIGHT, jobs, FEW, (n) => store.add(n))

const many: Producer = async (store, jobs) => {
  const calls = await inLanes(1, Math.ceil(jobs / BATCH), 1, (call) => store.addMany(Array.from({ length: BATCH }, (_, k) => call * BATCH + k)))
  return { stored: calls.stored * BATCH, ms: calls.ms }
}

function inTransactions(quietly: boolean): Producer {
  return async (store, jobs, url) => {
    const clients = await Promise.all(
      Array.from({ length: CONNECTIONS }, async () => {
        const client = new pg.Client({ connectionString: url })
        await client.connect()
        return client
      }),
    )
    try {
      return await inLanes(CONNECTIONS, jobs, FEW, async (n, lane) => {
        const client = clients[lane]!
        await client.query("begin")
        await store.addInTransaction!(client, n, quietly)
        await client.query("commit")
      })
    } finally {
      await Promise.all(clients.map((client) => client.end()))
    }
  }
}

const common = { metric: "jobsPerSecond", shown: ["jobs"], better: "higher", takes: () => true } as const

export const enqueue: Scenario = {
  ...common,
  name: "enqueue",
  title: "enqueue one by one",
  jobs: 1_500,
  measure: (contestant, context) => measure(contestant, context, oneByOne),
}

export const enqueueConcurrent: Scenario = {
  ...common,
  name: "enqueue-concurrent",
  title: "enqueue, 1,000 calls in flight",
  jobs: 50_000,
  measure: (contestant, context) => measure(contestant, context, concurrent),
}

export const enqueueMany: Scenario = {
  ...common,
  name: "enqueue-many",
  title: "enqueue many, 1,000 jobs a call",
  jobs: 50_000,
  measure: (contestant, context) => measure(contestant, context, many),
}

export const enqueueTransactions: Scenario = {
  ...common,
  name: "enqueue-transactions",
  title: "enqueue in 32 transactions of the caller's at once, one job each",
  shown: ["withoutWake", "jobs"],
  jobs: 20_000,
  takes: ({ peer }) => !peer.startsWith("bullmq"),
  async measure(contestant, context) {
    const loud = await measure(contestant, context, inTransactions(false))
    if (contestant.peer !== "pgtusk" && contestant.peer !== "floor") return loud
    const quiet = await measure(contestant, context, inTransactions(true))
    return { ...loud, withoutWake: quiet["jobsPerSecond"]! }
  },
}
