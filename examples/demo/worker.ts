/** A worker process: `node --import tsx examples/demo/worker.ts`, with DATABASE_URL set. */
import { configure } from "../../src/index.js"
import "./tasks.js"

// Nobody is left to work for when the demo is gone, however it ended.
process.on("disconnect", () => process.exit())
if (process.send !== undefined && !process.connected) process.exit()

const tusk = configure()
// The stock lease is 20 s: long enough for a hiccup, too long to watch.
const worker = await tusk.work({ queues: { demo: 4 }, lease: "3s" })
process.send?.({ workerId: worker.id })
await worker.stopped
await tusk.close()
process.disconnect?.()
