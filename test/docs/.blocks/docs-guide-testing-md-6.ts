import { configure, task } from "pgtusk"

const tusk = configure(process.env["DATABASE_URL"])
const sendEmail = task({ name: "emails.send", queue: "mail" }, async (to: string) => `sent to ${to}`)
const signUp = async (email: string) => {
  await sendEmail.with({ delay: "1d" }).enqueue(email)
}
await tusk.migrate()

// 1. What the task does: a plain call.
console.log(await sendEmail("ada@example.com"))

// 2. What is stored: look.
await signUp("ada@example.com")
const { jobs } = await tusk.queue("mail").jobs({ task: "emails.send" })
console.log(jobs[0]!.args, jobs[0]!.state)

// 3. The whole way: a worker, and no waiting for the delay.
await tusk.work()
await tusk.job(jobs[0]!.id).promote()
console.log(await tusk.job(jobs[0]!.id).result({ timeout: "30s" }))
await tusk.close()
