import { configure, task } from "pgtusk"

const tusk = configure(process.env["DATABASE_URL"])
const importOrders = task(
  {
    name: "orders.import",
    concurrency: { limit: 2, key: (tenant: string) => tenant },
    rateLimit: { limit: 100, per: "1m" },
  },
  async (tenant: string, page: number) => `${tenant} ${page}`,
)
await tusk.migrate()
await tusk.queue("default").configure({ concurrency: 20 })

const worker = await tusk.work()
const jobs = await importOrders.enqueueMany([
  ["acme", 1],
  ["acme", 2],
  ["acme", 3],
  ["globex", 1],
])
console.log(await Promise.all(jobs.map((job) => job.result({ timeout: 10 }))))
await worker.drain()
await tusk.close()
