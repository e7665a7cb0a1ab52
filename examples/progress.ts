/** A job that says how far it is, and somebody who watches it. */
import assert from "node:assert/strict"
import { setTimeout as sleep } from "node:timers/promises"
import { configure, task } from "pgtusk"

const url = process.env.DATABASE_URL
const tusk = configure(url === undefined ? { embedded: true } : { connectionString: url, migrate: true })

// `progress: true` injects reportProgress as the first parameter; enqueue() does not take it.
const importRows = task({ name: "rows.import", progress: true }, async (reportProgress, rows: string[]) => {
  for (const [i, row] of rows.entries()) {
    await sleep(50)
    reportProgress((i + 1) / rows.length, { row })
  }
  return rows.length
})

// Listen first: what happened before is not told again. `job.events()` does the same for one job, beginning with its state as it is.
const seen: number[] = []
const watching = tusk.events.on("job:progress", ({ progress = 0, data }) => {
  console.log(`${Math.round(progress * 100)} %`, data)
  seen.push(progress)
})
await watching.ready

await tusk.work()
const job = await importRows.enqueue(["a", "b", "c", "d"])
assert.equal(await job.result({ timeout: "30s" }), 4)
// In the process of the worker every report is heard; other processes hear the latest, at most four times a second.
assert.deepEqual(seen, [0.25, 0.5, 0.75, 1])
// The last report is stored, too.
assert.deepEqual((await job.snapshot()).progress, { fraction: 1, data: { row: "d" } })

watching() // ends the subscription
await tusk.close()
