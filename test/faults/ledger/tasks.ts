/** The mixed load. Every handler leaves an effect in the ledger before it succeeds. */
import { setTimeout as sleep } from "node:timers/promises"
import { currentJob, NonRetryableError, snooze, task } from "../../../src/index.js"
import { effect, effectInTransaction } from "./book.js"
import { CONCURRENCY, POISON_CRASHES, RATE } from "./load.js"

/** Storms make runs fail and processes vanish more often than any budget of attempts. */
const stubborn = { retries: 30_000, maxCrashes: 30_000, backoff: { fixed: "100ms", jitter: 0.5 } } as const

export const fast = task({ name: "fast", queue: "main", ...stubborn }, (token: string) => effect(token))

/** No row of it remains. */
export const gone = task({ name: "gone", queue: "main", ...stubborn, keep: { completed: false } }, (token: string) => effect(token))

export const slow = task({ name: "slow", queue: "slow", ...stubborn }, async (token: string, ms: number) => {
  await sleep(ms / 2, undefined, { signal: currentJob().signal })
  if (Math.random() < 0.2) snooze("50ms")
  await sleep(ms / 2, undefined, { signal: currentJob().signal })
  await effect(token)
})

export const flaky = task({ name: "flaky", queue: "main", ...stubborn }, async (token: string, failures: number) => {
  if (currentJob().attempt <= failures) throw new Error("not yet")
  await effect(token)
})

export const failing = task({ name: "failing", queue: "main", ...stubborn, retries: 2 }, async (token: string, final: boolean) => {
  await effect(token)
  if (final) throw new NonRetryableError("never")
  throw new Error("no")
})

/** Runs until it is cancelled, or for as long as this. */
export const hang = task({ name: "hang", queue: "slow", ...stubborn }, async (token: string, ms: number) => {
  await sleep(ms, undefined, { signal: currentJob().signal })
  await effect(token)
})

/** Its queue is narrow, so that many expire. */
export const stale = task({ name: "stale", queue: "stale", ...stubborn }, async (token: string) => {
  await sleep(20)
  await effect(token)
})

export const part = task({ name: "part", queue: "main", ...stubborn }, async (token: string, n: number) => {
  await effect(token)
  return n
})
export const sum = task({ name: "sum", queue: "main", ...stubborn }, async (token: string, a: number, b: number) => {
  await effect(token)
  return a + b
})

export const limited = task(
  { name: "limited", queue: "limited", ...stubborn, concurrency: { limit: CONCURRENCY, key: (_token, key) => key } },
  async (token: string, _key: string) => {
    await sleep(20, undefined, { signal: currentJob().signal })
    await effect(token)
  },
)

export const rated = task(
  { name: "rated", queue: "limited", ...stubborn, rateLimit: { limit: RATE.limit, per: `${RATE.perMs}ms`, key: (_token, key) => key } },
  (token: string, _key: string) => effect(token),
)

export const keyed = task({ name: "keyed", queue: "main", ...stubborn, deduplicate: (_token, key) => key }, async (token: string, _key: string) => {
  await sleep(30, undefined, { signal: currentJob().signal })
  await effect(token)
})

const followUp = task({ name: "follow-up", queue: "main", ...stubborn }, (token: string) => effect(token))

/** Exactly once: its effect, its follow-up and its completion. */
export const booked = task({ name: "booked", queue: "tx", transactional: true, ...stubborn }, async (token: string, fails: boolean) => {
  await effectInTransaction(token)
  await followUp.with({ tx: currentJob().tx }).enqueue(currentJob().id)
  if (fails && currentJob().attempt === 1) throw new Error("after its writes")
})

task({ name: "chain", queue: "main", ...stubborn }, (token: string) => effect(token))

task({ name: "slot", queue: "main", ...stubborn }, (schedule: string) => effect(`${schedule} ${currentJob().scheduledFor?.toISOString()}`))

/** Takes its worker with it. */
task({ name: "poison", queue: "main", ...stubborn, maxCrashes: POISON_CRASHES }, async (token: string) => {
  await effect(token)
  process.kill(process.pid, "SIGKILL")
  await sleep(60_000)
})
