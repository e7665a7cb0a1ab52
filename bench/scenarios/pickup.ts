/** From enqueue() to the start of the handler, in another process. */
import type { Contestant } from "../peers/peer.js"
import { RemoteWorker } from "../remote-worker.js"
import { percentile } from "../statistics.js"
import { Executions } from "./executions.js"
import { type Context, clock, type Metrics, rest, type Scenario, share, sleep, withStore } from "./scenario.js"

const WARM_UP = 20
/** Between a start and the next enqueue. */
const PAUSE_MS = 3
const PER_SECOND = 300
const HANDLER_MS = 10
/** Jobs that do not count: for the first tenths of a second everybody opens connections and plans statements. */
const COLD = 150

function inMilliseconds(times: readonly number[]): Metrics {
  return { p50Ms: percentile(times, 0.5), p95Ms: percentile(times, 0.95), p99Ms: percentile(times, 0.99), jobs: times.length }
}

async function withRemote(
  contestant: Contestant,
  context: Context,
  handlerMs: number,
  jobs: number,
  work: (add: (n: number) => Promise<unknown>, started: (n: number) => Promise<number>) => Promise<Metrics>,
): Promise<Metrics> {
  return withStore(contestant, context, "plain", async (store, database) => {
    await rest(database)
    const worker = await RemoteWorker.prepare(contestant, context.servers, handlerMs, "each")
    try {
      const starts: PromiseWithResolvers<number>[] = Array.from({ length: jobs }, () => withResolvers())
      worker.onStarted = (n, at) => starts[n]!.resolve(at)
      await worker.start()
      // Whatever it does at its start is over.
      await sleep(500)
      const late = setTimeout(() => {
        for (const { reject } of starts) reject(new Error(`${contestant.name}: a job had not started after 60 s`))
      }, 60_000)
      const metrics = await work(
        (n) => store.add(n),
        (n) => starts[n]!.promise,
      )
      clearTimeout(late)
      await sleep(handlerMs + 200)
      const executions = new Executions(jobs)
      for (const n of (await worker.stop()).ran) executions.add(n)
      await executions.verify(contestant, store)
      return metrics
    } finally {
      worker.kill()
    }
  })
}

interface PromiseWithResolvers<T> {
  readonly promise: Promise<T>
  readonly resolve: (value: T) => void
  readonly reject: (error: Error) => void
}
function withResolvers<T>(): PromiseWithResolvers<T> {
  let resolve: (value: T) => void = () => undefined
  let reject: (error: Error) => void = () => undefined
  const promise = new Promise<T>((yes, no) => {
    resolve = yes
    reject = no
  })
  promise.catch(() => undefined)
  return { promise, resolve, reject }
}

export const pickupIdle: Scenario = {
  name: "pickup-idle",
  title: "pickup by an idle worker in another process, one job at a time",
  metric: "p50Ms",
  shown: ["p95Ms", "p99Ms", "jobs"],
  better: "lower",
  jobs: 300,
  mostJobs: 5_000,
  takes: () => true,
  measure(contestant, context) {
    // One that polls every two seconds takes as long for each.
    const wanted = contestant.drains < 10 ? 4 : context.jobs + WARM_UP
    return withRemote(contestant, context, 0, wanted, async (add, started) => {
      const times: number[] = []
      for (let n = 0; n < wanted; n++) {
        const began = clock()
        await add(n)
        times.push((await started(n)) - began)
        await sleep(PAUSE_MS)
      }
      return inMilliseconds(wanted > WARM_UP ? times.slice(WARM_UP) : times)
    })
  },
}

export const pickupLoaded: Scenario = {
  name: "pickup-loaded",
  title: `pickup in another process, ${PER_SECOND} jobs a second arriving, handlers of ${HANDLER_MS} ms`,
  metric: "p95Ms",
  shown: ["p50Ms", "p99Ms", "jobs"],
  better: "lower",
  jobs: 1_200,
  mostJobs: 10_000,
  // Three at once are the least that can keep up.
  takes: ({ concurrency, drains }) => concurrency > 3 && drains > PER_SECOND,
  measure(contestant, context) {
    const jobs = Math.max(share(contestant, context), Math.min(context.jobs, 100)) + COLD
    return withRemote(contestant, context, HANDLER_MS, jobs, async (add, started) => {
      const times: Promise<number>[] = []
      const from = clock()
      const added: Promise<unknown>[] = []
      while (times.length < jobs) {
        const due = Math.min(jobs, Math.floor(((clock() - from) / 1_000) * PER_SECOND) + 1)
        while (times.length < due) {
          const n = times.length
          const began = clock()
          added.push(add(n))
          times.push(started(n).then((at) => at - began))
        }
        await sleep(1)
      }
      await Promise.all(added)
      return inMilliseconds((await Promise.all(times)).slice(COLD))
    })
  },
}
