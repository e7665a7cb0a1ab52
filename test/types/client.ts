/** The client, handles, flows and events under the type checker, good use and misuse. Compiled by types.test.ts, never run. */
import { configure, currentJob, flow, InvalidOptionError, type Job, type JobSnapshot, PayloadError, snooze, Tusk, task } from "pgtusk"

const charge = task({ name: "charge" }, async (_customer: string, cents = 100) => cents)
const pack = task({ name: "pack" }, async (_order: string) => ({ box: "b1", at: new Date() }))
const ship = task({ name: "ship" }, async (_cents: number, parcel: { box: string; at: Date }, note?: string) => `${parcel.box} ${note}`)
const gather = task({ name: "gather" }, async (all: readonly [number, { box: string; at: Date }]) => all.length)

// ── Flows: a reference is the dependency, and has the type of the result ─────
const order = flow("order", (f) => {
  const paid = f.add(charge.call("c1"))
  const packed = f.add(pack.with({ priority: 1 }).call("o1"), { after: [paid], onParentFailure: "fail" })
  f.add(gather.call(f.all(paid, packed)))
  return f.add(ship.call(paid.result, packed.result, "fragile").with({ delay: "5m" }))
})
const shipped: Job<string> & { readonly jobs: readonly Job[] } = await order.enqueue()
const text: string = await shipped.result({ timeout: "30s" })
flow("wrong", (f) => {
  const paid = f.add(charge.call("c1"))
  const packed = f.add(pack.call("o1"))
  // @ts-expect-error the other way round
  f.add(ship.call(packed.result, paid.result))
  // @ts-expect-error a node is no reference; its result is
  f.add(ship.call(paid, packed))
  // @ts-expect-error the results are in another order
  f.add(gather.call(f.all(packed, paid)))
  // @ts-expect-error a call is meant, not a job
  f.add(charge.enqueue("c1"))
  return paid
})
// @ts-expect-error a flow ends in a node
flow("empty", () => {})
// @ts-expect-error a flow is stored whole; delay its jobs
await order.enqueue({ delay: 5 })

// ── Handles ──────────────────────────────────────────────────────────────────
const job = await charge.enqueue("c1")
const cents: number = await job.result()
const outcome = await job.settled({ timeout: 5 })
if (outcome.ok) outcome.value.toFixed(2)
else outcome.error.code.toUpperCase()
// @ts-expect-error not known to be a success
outcome.value
const snapshot: JobSnapshot<number> = await job.snapshot()
// @ts-expect-error undefined until it has completed
snapshot.result.toFixed(2)
// @ts-expect-error read only
snapshot.attempt = 5
const changed: boolean = await job.reschedule("10m")
for await (const event of job.events()) if (event.name === "job:progress") event.progress?.toFixed(2)

// ── The client ───────────────────────────────────────────────────────────────
const tusk: Tusk = configure({ connectionString: "postgres://localhost/app", schema: "jobs", maxPayloadBytes: null })
await using other = new Tusk("postgres://localhost/other")
await charge.with({ via: other }).enqueue("c1")
await tusk.enqueueMany([charge.call("c1"), pack.call("o1")], { priority: 1 })
await tusk.transaction(async (tx) => {
  const { rows } = await tx.query<{ id: string }>("select id from orders where id = $1", ["o1"])
  await charge.with({ tx }).enqueue(rows[0]!.id)
})
await using worker = await tusk.work({ queues: { default: 10, mail: { concurrency: 2 } }, drainTimeout: "1m", signals: false })
await tusk.work({ queues: ["default", "mail"] })
worker.pause()
// @ts-expect-error misspelt
configure({ connexionString: "postgres://localhost/app" })
// @ts-expect-error a queue has a number of slots
await tusk.work({ queues: { default: "10" } })
// @ts-expect-error a client is meant
charge.with({ via: "postgres://localhost/app" })
// @ts-expect-error calls are meant
await tusk.enqueueMany([charge])

// ── Inside a handler, and errors ─────────────────────────────────────────────
task({ name: "inside", onError: (_error, run) => (run.attempt > 3 ? "fail" : { retryIn: "5m" }) }, async () => {
  const { signal, attempt, fence, tx } = currentJob()
  signal.throwIfAborted()
  await tx.query("insert into runs values ($1, $2)", [attempt, fence])
  if (attempt === 1) snooze("5m")
})
try {
  await charge.enqueue("c1")
} catch (error) {
  if (error instanceof PayloadError) error.path.toUpperCase()
  // @ts-expect-error only a PayloadError has a path
  if (error instanceof InvalidOptionError) error.path
}

export { cents, changed, text }
