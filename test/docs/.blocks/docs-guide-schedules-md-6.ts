import { configure, task } from "pgtusk"

const tusk = configure(process.env["DATABASE_URL"])
const digest = task({ name: "digest.send" }, async (to: string) => to)
await tusk.migrate()

await digest.with({ queue: "mail", retries: 2 }).schedule("daily-digest", { cron: "0 9 * * 1-5", tz: "Europe/Berlin" }, "ada@example.com")
const schedule = await tusk.schedules.get("daily-digest")
console.log(schedule?.task, schedule?.queue, schedule?.paused)
const next = await tusk.schedules.preview("daily-digest", 3)
console.log(
  next.length,
  next.every((at) => at.getMinutes() === 0),
)
await tusk.close()
