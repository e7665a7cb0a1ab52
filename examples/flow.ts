/** A graph of jobs, stored whole or not at all: a result that stands as an argument is the dependency. */
import assert from "node:assert/strict"
import { configure, flow, task } from "pgtusk"

const url = process.env.DATABASE_URL
const tusk = configure(url === undefined ? { embedded: true } : { connectionString: url, migrate: true })

const fetchSales = task({ name: "sales.fetch" }, async (shop: string) => ({ shop, cents: shop.length * 100 }))
const addUp = task({ name: "sales.add-up" }, async (sales: { shop: string; cents: number }[]) => sales.reduce((sum, { cents }) => sum + cents, 0))
const writeReport = task({ name: "sales.report" }, async (title: string, cents: number) => `${title}: ${cents} cents`)

const salesReport = flow("sales", (f) => {
  const berlin = f.add(fetchSales.call("Berlin"))
  const rome = f.add(fetchSales.call("Rome"))
  const total = f.add(addUp.call(f.all(berlin, rome)))
  return f.add(writeReport.call("Sales", total.result), { onParentFailure: "fail" })
})

await tusk.work()
const job = await salesReport.enqueue()
const report = await job.result({ timeout: "30s" })
console.log(report, `(${job.jobs.length} jobs)`)
assert.equal(report, "Sales: 1000 cents")
assert.equal(job.jobs.length, 4)

await tusk.close()
