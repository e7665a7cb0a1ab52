import { configure, task } from "pgtusk"

const tusk = configure(process.env["DATABASE_URL"])
const divide = task({ name: "divide" }, async (a: number, b: number) => {
  if (b === 0) throw new RangeError("division by zero")
  return a / b
})
await tusk.migrate()
await tusk.work()

const good = await divide.enqueue(6, 3)
console.log(await good.result({ timeout: "30s" }))

const bad = await divide.enqueue(6, 0)
const outcome = await bad.settled()
console.log(outcome.ok, outcome.ok ? outcome.value : outcome.error.code)
console.log(await bad.state(), (await bad.snapshot()).error?.message)
await tusk.close()
