import { configure, task } from "pgtusk"

const tusk = configure(process.env["DATABASE_URL"])
const sendEmail = task({ name: "emails.send", queue: "mail" }, async (to: string) => to)
await tusk.migrate()

const mail = tusk.queue("mail")
await mail.pause()
await sendEmail.enqueueMany([["ada@example.com"], ["bob@example.com"], ["eve@example.com"]])
console.log((await mail.counts()).waiting, (await mail.info()).paused)

const page = await mail.jobs({ state: "waiting", args: ["bob@example.com"] })
console.log(page.jobs.length, page.jobs[0]!.args)
for (const { code } of (await tusk.job(page.jobs[0]!.id).explain()).reasons) console.log(code)

console.log((await mail.drain()).length)
await mail.resume()
await tusk.close()
