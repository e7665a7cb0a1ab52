/** Jobs by the clock. A schedule is a row: it outlives every process, and each slot makes exactly one job. */
import assert from "node:assert/strict"
import { configure, currentJob, task } from "pgtusk"

const url = process.env.DATABASE_URL
const tusk = configure(url === undefined ? { embedded: true } : { connectionString: url, migrate: true })

const slots: Date[] = []
let seenTwo = (): void => {}
const two = new Promise<void>((resolve) => {
  seenTwo = resolve
})
const tick = task({ name: "clock.tick" }, async (what: string) => {
  const slot = currentJob().scheduledFor
  assert.ok(slot)
  slots.push(slot)
  console.log(what, slot.toISOString())
  if (slots.length === 2) seenTwo()
})
const sendDigest = task({ name: "digest.send", queue: "mail" }, async (to: string) => `digest for ${to}`)

// Call schedule() at every start of the application: the same id updates the same row.
await sendDigest.schedule("weekday-digest", { cron: "0 9 * * 1-5", tz: "Europe/Berlin" }, "ada@example.com")
const [next] = await tusk.schedules.preview("weekday-digest", 1)
const berlin = new Intl.DateTimeFormat("en-GB", { timeZone: "Europe/Berlin", hour: "2-digit", minute: "2-digit" }).format(next)
console.log("next digest:", next?.toISOString())
assert.equal(berlin, "09:00")

await tick.schedule("ticks", { every: "500ms", limit: 2 }, "tick")
await tusk.work({ queues: ["default"] })
await two
assert.equal(slots[1]!.getTime() - slots[0]!.getTime(), 500)

assert.equal(await tusk.schedules.remove("ticks"), true)
assert.equal(await tusk.schedules.remove("weekday-digest"), true)
await tusk.close()
