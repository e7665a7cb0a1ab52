// The five-minute start: a function becomes a task, its job is stored, a worker runs it.
//   DATABASE_URL=postgres://… node --import tsx examples/quickstart.ts     (without DATABASE_URL: an embedded Postgres)
import { configure, task } from "pgtusk"

const url = process.env["DATABASE_URL"]
const tusk = configure(url === undefined ? { embedded: true } : { connectionString: url, migrate: true })

const greet = task({ name: "greet", retries: 2 }, async (name: string, greeting = "Hello") => `${greeting}, ${name}!`)

const job = await greet.enqueue("Ada")
await tusk.work()
const said = await job.result({ timeout: "30s" })
console.log(said)
if (said !== "Hello, Ada!") throw new Error(`It said ${said}`)
await tusk.close()
