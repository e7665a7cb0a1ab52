import { configure, currentJob, task } from "pgtusk"

const tusk = configure(process.env["DATABASE_URL"])
const fetchRates = task({ name: "rates.fetch", retries: 2, backoff: { fixed: "50ms" } }, async () => {
  if (currentJob().attempt < 3) throw new Error("the bank is closed")
  return 1.08
})
await tusk.migrate()
await tusk.work()

const job = await fetchRates.enqueue()
console.log(await job.result())
const { attempts } = await job.snapshot()
for (const { attempt, error } of attempts) console.log(attempt, error?.message ?? "ok")
await tusk.close()
