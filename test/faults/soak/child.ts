/** One process of the soak, `worker` or `producer`: works or enqueues until told to stop, and says what memory it holds whenever it is asked. */
import { randomUUID } from "node:crypto"
import { setTimeout as sleep } from "node:timers/promises"
import { configure } from "../../../src/index.js"
import * as tasks from "./tasks.js"

export interface Memory {
  readonly rss: number
  /** After a collection: what is held, not what waits to be thrown away. */
  readonly heap: number
}

const role = process.argv[2]
/** Rounds a second; each is some ten jobs. */
const rate = Number(process.env["RATE"])
const log = (level: string) => (message: string, fields?: { error?: unknown }) =>
  void process.stderr.write(`${level} ${message} ${fields?.error ?? ""}\n`)
const tusk = configure({
  connectionString: process.env["DATABASE_URL"]!,
  logger: { debug() {}, info() {}, warn: log("warn"), error: log("error") },
  signals: false,
})

let stop: () => void = () => undefined
const stopped = new Promise<void>((resolve) => {
  stop = resolve
})
let going = true
process.on("disconnect", () => process.exit(3))
process.on("message", (asked: "memory" | "stop") => {
  if (asked === "stop") {
    going = false
    stop()
    return
  }
  globalThis.gc?.()
  const { rss, heapUsed, external } = process.memoryUsage()
  process.send?.({ rss, heap: heapUsed + external } satisfies Memory)
})

async function round(i: number): Promise<void> {
  const key = `k${i % 7}`
  const many = await tasks.fast.enqueueMany([[1], [2], [3]])
  const waited = await tasks.fast.with({ id: randomUUID() }).enqueue(i)
  await Promise.all([
    tasks.gone.enqueue("x".repeat(200)),
    tasks.gone.with({ priority: 2 }).enqueue("y"),
    tasks.fast.with({ delay: "300ms", dependsOn: [many[0]!] }).enqueue(i),
    tasks.inTransaction.enqueue(i),
    tasks.limited.enqueue(key),
    tasks.rated.enqueue(key),
    tasks.keyed.enqueue(key),
    tusk.transaction((tx) => tasks.fast.with({ tx }).enqueue(i)),
    i % 2 === 0 ? tasks.slow.enqueue(50) : tasks.flaky.enqueue(),
    i % 10 === 0 ? tasks.failing.enqueue() : undefined,
    i % 5 === 0
      ? tasks.slow
          .with({ delay: "10m" })
          .enqueue(1)
          .then((job) => job.cancel())
      : undefined,
    waited.result({ timeout: 30 }),
  ])
}

if (role === "worker") {
  const worker = await tusk.work({ queues: { soak: 20 }, signals: false })
  process.send?.("ready")
  await stopped
  await worker.drain()
} else {
  tusk.events.on("job:completed", () => undefined)
  process.send?.("ready")
  const open = new Set<Promise<void>>()
  // By the clock, whatever the last round took: a load that waits for the system hides what slows down.
  const began = performance.now()
  for (let i = 0; going; i++) {
    const one = round(i).catch((error: unknown) => log("error")("a round failed", { error }))
    open.add(one)
    void one.finally(() => open.delete(one))
    await sleep(Math.max(0, began + ((i + 1) * 1_000) / rate - performance.now()))
  }
  await Promise.all(open)
}
await tusk.close()
process.removeAllListeners("disconnect")
process.disconnect()
