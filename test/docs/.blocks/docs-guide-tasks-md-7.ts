import { configure, currentJob, task } from "pgtusk"

export const tusk = configure(process.env["DATABASE_URL"])

export const sendEmail = task({ name: "emails.send", queue: "mail", retries: 3, ttl: "1h" }, async (to: string, subject: string, body = "") => {
  const { attempt, maxAttempts } = currentJob()
  return `${subject}${body} to ${to}, attempt ${attempt} of ${maxAttempts}`
})

await tusk.migrate()
await tusk.work()
const job = await sendEmail.enqueue("ada@example.com", "Hello")
console.log(await job.result())
await tusk.close()
