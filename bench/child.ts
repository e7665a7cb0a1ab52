/** A worker in a process of its own; ../bench/remote-worker.ts starts it and speaks with it. */
import { contestantsOf } from "./peers/all.js"
import type { Worker } from "./peers/peer.js"
import type { FromChild, Job, ToChild } from "./remote-worker.js"
import { clock, sleep } from "./scenarios/scenario.js"

const job = JSON.parse(process.argv[2]!) as Job
const tell = (message: FromChild): void => void process.send!(message)

const contestant = (await contestantsOf([job.peer])).find(({ name }) => name === job.contestant)!
const store = await contestant.open(job.servers, "plain")
const ran: number[] = []
let lastAt = 0
let worker: Worker | undefined

async function run(n: number): Promise<void> {
  const at = clock()
  if (job.report === "each") tell({ started: n, at })
  if (job.handlerMs > 0) await sleep(job.handlerMs)
  ran.push(n)
  lastAt = clock()
}
// Without handlers that take time, they are as short as those of a run in one process.
const handler =
  job.handlerMs > 0 || job.report === "each"
    ? run
    : (n: number) => {
        ran.push(n)
        lastAt = clock()
      }

process.on("message", async (message: ToChild) => {
  if (message === "start") {
    worker = await store.work(handler)
    tell({ working: true })
    // Few messages: those of every job would be measured too.
    if (job.report === "count") setInterval(() => tell({ count: ran.length }), 10)
    return
  }
  let endedAt = lastAt
  if (worker?.recorded !== undefined) {
    await worker.recorded()
    endedAt = clock()
  }
  await worker?.stop()
  // It is large: the process must not end before all of it is written.
  await new Promise((resolve) => process.send!({ ran, endedAt } satisfies FromChild, resolve))
  await store.close()
  process.disconnect?.()
  // Whatever a peer leaves open.
  setTimeout(() => process.exit(0), 1_000).unref()
})
process.on("disconnect", () => process.exit(0))
tell({ ready: true })
