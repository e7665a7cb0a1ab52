import { configure, task } from "pgtusk"

const tusk = configure(process.env["DATABASE_URL"])
const buildReport = task({ name: "reports.build", progress: true }, async (reportProgress, rows: number[]) => {
  for (const [i] of rows.entries()) reportProgress((i + 1) / rows.length, { row: i + 1 })
  return rows.length
})
await tusk.migrate()

const watching = tusk.events.on("job:progress", ({ progress, data }) => console.log(progress, data))
await watching.ready
await tusk.work()
const job = await buildReport.enqueue([7, 8])
await job.result()
console.log((await job.snapshot()).progress)

watching() // ends the subscription
await tusk.close()
