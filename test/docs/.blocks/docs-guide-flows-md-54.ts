import { configure, flow, task } from "pgtusk"

const tusk = configure(process.env["DATABASE_URL"])
const charge = task({ name: "charge" }, async (order: string) => ({ order, cents: 4200 }))
const pack = task({ name: "pack" }, async (order: string) => `box of ${order}`)
const ship = task({ name: "ship" }, async (payment: { cents: number }, box: string, express = false) => `${box}, ${payment.cents} cents, ${express}`)
await tusk.migrate()

const order = flow("order", (f) => {
  const paid = f.add(charge.call("o-1"))
  const packed = f.add(pack.call("o-1"))
  return f.add(ship.call(paid.result, packed.result), { onParentFailure: "cancel" })
})

await tusk.work()
const job = await order.enqueue()
console.log(await job.result(), job.jobs.length)
await tusk.close()
