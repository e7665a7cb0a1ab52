// Methods as tasks: static ones run as they are, instance methods once their object is registered.
import { configure, task, tasksOf } from "pgtusk"

const url = process.env["DATABASE_URL"]
const tusk = configure(url === undefined ? { embedded: true } : { connectionString: url, migrate: true })

class Mail {
  readonly sent: string[] = []

  @task({ name: "mail.send", queue: "mail" })
  async send(to: string): Promise<number> {
    return this.sent.push(to)
  }

  @task({ name: "mail.purge", queue: "mail" })
  static async purge(days: number): Promise<string> {
    return `older than ${days} days`
  }
}

const mail = new Mail()
tusk.register(mail)
const tasks = tasksOf(Mail)
const worker = await tusk.work()
await (await tasks.send.enqueue("ada@example.com")).result({ timeout: "30s" })
console.log(await (await tasks.purge.enqueue(30)).result({ timeout: "30s" }))
if (mail.sent[0] !== "ada@example.com") throw new Error("The method ran on another object")
await worker.drain()
await tusk.close()
