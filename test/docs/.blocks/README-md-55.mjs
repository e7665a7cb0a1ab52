import { configure, task } from "pgtusk"

// A Postgres from npm, started for this program and deleted with its end.
const tusk = configure({ embedded: true })

const sendEmail = task({ name: "emails.send", retries: 2 }, async (to, subject) => {
  // Your work goes here. If it throws, it is retried; what it returns is the job's result.
  return `"${subject}" is on its way to ${to}`
})

await tusk.work() // runs jobs in this process
const job = await sendEmail.enqueue("ada@example.com", "Hello")
console.log(await job.result({ timeout: "30s" }))

await tusk.close() // lets the worker finish, then stops everything
