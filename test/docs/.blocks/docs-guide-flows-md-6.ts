import { configure, task } from "pgtusk"

const tusk = configure(process.env["DATABASE_URL"])
const extract = task({ name: "extract" }, async (table: string) => table)
const publish = task({ name: "publish" }, async () => "published")
await tusk.migrate()

const orders = await extract.enqueue("orders")
const users = await extract.enqueue("users")
const last = await publish.with({ dependsOn: [orders, users] }).enqueue()
console.log(await last.state())

await tusk.work()
console.log(await last.result())
await tusk.close()
