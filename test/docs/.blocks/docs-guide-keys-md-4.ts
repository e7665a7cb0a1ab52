import { configure, task } from "pgtusk"

const tusk = configure(process.env["DATABASE_URL"])
const sync = task({ name: "accounts.sync" }, async (account: string) => account)
await tusk.migrate()

const first = await sync.with({ deduplicate: "acme" }).enqueue("acme")
const second = await sync.with({ deduplicate: "acme" }).enqueue("acme")
console.log(first.created, second.created, first.id === second.id)

await sync.with({ id: "invoice-7" }).enqueue("acme")
const found = await tusk.queue("default").job("invoice-7")
console.log(found?.task)
await tusk.close()
