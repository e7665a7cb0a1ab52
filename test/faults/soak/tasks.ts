/** A bit of everything that passes through other code: limits, keys, retries, transactions, results, progress, large arguments. */
import { setTimeout as sleep } from "node:timers/promises"
import { currentJob, task } from "../../../src/index.js"

const common = { queue: "soak", retries: 3, backoff: { fixed: "200ms" } } as const

export const fast = task({ name: "fast", ...common }, (n: number) => n)
/** No row of it remains. */
export const gone = task({ name: "gone", ...common, keep: { completed: false } }, (text: string) => text.length)
export const slow = task({ name: "slow", ...common, progress: true }, async (reportProgress, ms: number) => {
  await reportProgress(0.5)
  await sleep(ms, undefined, { signal: currentJob().signal })
})
export const flaky = task({ name: "flaky", ...common }, () => {
  if (currentJob().attempt === 1) throw new Error("the first attempt")
})
export const failing = task({ name: "failing", ...common, retries: 0 }, () => {
  throw new Error("always")
})
export const inTransaction = task({ name: "inTransaction", ...common, transactional: true }, async (n: number) => {
  await fast.with({ tx: currentJob().tx }).enqueue(n)
})
export const limited = task({ name: "limited", ...common, concurrency: { limit: 2, key: (key: string) => key } }, async (_key: string) => {
  await sleep(5)
})
export const rated = task({ name: "rated", ...common, rateLimit: { limit: 100, per: "1s", key: (key: string) => key } }, (_key: string) => {})
export const keyed = task({ name: "keyed", ...common, deduplicate: (key: string) => key }, async (_key: string) => {
  await sleep(20)
})
