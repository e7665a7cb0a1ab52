import { configure, task } from "pgtusk"

const tusk = configure(process.env["DATABASE_URL"])
const sendEmail = task({ name: "emails.send", retries: 1 }, async (to: string, subject: string) => `${subject} to ${to}`)
await tusk.migrate()

const first = await sendEmail.enqueue("ada@example.com", "Hello")
const later = await sendEmail.with({ delay: "10m", priority: 1 }).enqueue("bob@example.com", "Reminder")
const many = await sendEmail.enqueueMany([
  ["eve@example.com", "Hello"],
  ["dan@example.com", "Hello"],
])
console.log(await first.state(), await later.state(), many.length)
await tusk.close()
