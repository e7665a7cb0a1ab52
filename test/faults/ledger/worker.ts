/** A worker process of the storm. */
import "./skew.js"
import { configure, type Worker } from "../../../src/index.js"
import { book } from "./book.js"
import type { Command } from "./processes.js"
import "./tasks.js"

const logger = {
  debug() {},
  info() {},
  warn: (message: string, fields?: object) => process.stderr.write(`warn ${message} ${JSON.stringify(fields ?? {}).slice(0, 300)}\n`),
  error: (message: string, fields?: object) =>
    process.stderr.write(`error ${message} ${String((fields as { error?: Error })?.error ?? "")} ${JSON.stringify(fields ?? {}).slice(0, 300)}\n`),
}

process.on("disconnect", () => process.exit(3))

let running: Worker | undefined
let ending = false
async function end(how: "drain" | "stop"): Promise<void> {
  ending = true
  await running?.[how]()
  await tusk.close()
  await book.end()
  process.removeAllListeners("disconnect")
  process.exit(0)
}
process.on("SIGTERM", () => void end("drain"))
process.on("message", (command: Command) => {
  if (command.do === "stop") void end("stop")
  if (command.do === "block") {
    const until = performance.now() + command.ms
    while (performance.now() < until);
  }
})

const tusk = configure({ connectionString: process.env["DATABASE_URL"]!, logger })
while (running === undefined && !ending) {
  // A database that is away just now is no reason to give up.
  running = await tusk
    .work({
      queues: { main: 20, slow: 20, stale: 1, limited: 10, tx: 5 },
      lease: Number(process.env["LEASE_MS"]) / 1_000,
      poll: "500ms",
      drainTimeout: 5,
      signals: false,
    })
    .catch(async () => {
      await new Promise((resolve) => setTimeout(resolve, 200))
      return undefined
    })
}
process.send?.({ ready: running?.id })
