/** Limits over all workers: jobs at once and starts in a time, for each customer, who take turns. */
import assert from "node:assert/strict"
import { setTimeout as sleep } from "node:timers/promises"
import { configure, task } from "pgtusk"

const url = process.env.DATABASE_URL
const tusk = configure(url === undefined ? { embedded: true } : { connectionString: url, migrate: true })

// At most two imports of one customer run at the same time, whichever workers run them.
const running = new Map<string, number>()
const order: string[] = []
let most = 0
const importOrders = task(
  { name: "orders.import", concurrency: { limit: 2, key: (customer: string) => customer } },
  async (customer: string, _page: number) => {
    order.push(customer)
    const count = (by: number): number => {
      const now = (running.get(customer) ?? 0) + by
      running.set(customer, now)
      return now
    }
    most = Math.max(most, count(1))
    await sleep(20)
    count(-1)
  },
)

// At most five calls of this in any second, in all processes together.
const starts: number[] = []
const callApi = task({ name: "api.call", rateLimit: { limit: 5, per: "1s" } }, async () => {
  starts.push(performance.now())
})

// One customer's crowd came first; the other's two jobs do not wait until it is through.
const crowd = await importOrders.enqueueMany(Array.from({ length: 40 }, (_, page): [string, number] => ["acme", page]))
const few = await importOrders.enqueueMany([
  ["globex", 1],
  ["globex", 2],
])
const calls = await callApi.enqueueMany(Array.from({ length: 8 }, (): [] => []))

const worker = await tusk.work({ queues: { default: 10 } })
await Promise.all([...crowd, ...few, ...calls].map((job) => job.result({ timeout: "60s" })))

console.log(`at most ${most} imports of one customer at once`)
assert.ok(most <= 2)
const lastOfGlobex = order.lastIndexOf("globex")
console.log(`globex was served after ${lastOfGlobex - 1} of acme's 40`)
assert.ok(lastOfGlobex < 20)
const sixth = starts[5]! - starts[0]!
console.log(`the sixth call began ${(sixth / 1_000).toFixed(1)} s after the first`)
assert.ok(sixth > 900)

// A job that waits for its limit says so.
await tusk.queue("default").configure({ concurrency: 0 })
const waiting = await importOrders.enqueue("initech", 1)
console.log("why it waits:", (await waiting.explain()).reasons.map(({ message }) => message).join("; "))
assert.equal(await waiting.state(), "waiting")

await worker.drain()
await tusk.close()
