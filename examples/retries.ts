/** What a handler can do when something goes wrong. */
import assert from "node:assert/strict"
import { configure, currentJob, NonRetryableError, RetryAfterError, snooze, task } from "pgtusk"

const url = process.env.DATABASE_URL
const tusk = configure(url === undefined ? { embedded: true } : { connectionString: url, migrate: true })

// Throw: the job runs again, after a wait that doubles from 50 ms.
const callApi = task({ name: "api.call", retries: 3, backoff: { base: 2, first: "50ms", jitter: 0.1 } }, async () => {
  const { attempt, maxAttempts } = currentJob()
  if (attempt < 3) throw new Error("503 Service Unavailable")
  return `attempt ${attempt} of ${maxAttempts}`
})

// Say when: the other side told you.
const callLimited = task({ name: "api.call-limited", retries: 1 }, async () => {
  if (currentJob().attempt === 1) throw new RetryAfterError("100ms", "429 Too Many Requests")
  return "let in"
})

// Give up at once: more attempts would not help.
const charge = task({ name: "cards.charge", retries: 5 }, async (card: string) => {
  throw new NonRetryableError(`the card ${card} has expired`)
})

// Not a failure, only not yet: snooze uses no attempt.
let open = false
const waitForShop = task({ name: "shop.wait" }, async () => {
  if (!open) {
    open = true
    snooze("100ms")
  }
  return currentJob().attempt
})

await tusk.work()

const flaky = await callApi.enqueue()
console.log(await flaky.result({ timeout: "30s" }))
const { attempt, attempts } = await flaky.snapshot()
assert.equal(attempt, 3)
assert.deepEqual(
  attempts.map(({ error }) => error?.message ?? "succeeded"),
  ["503 Service Unavailable", "503 Service Unavailable", "succeeded"],
)

assert.equal(await (await callLimited.enqueue()).result({ timeout: "30s" }), "let in")

const charged = await charge.enqueue("4242")
const outcome = await charged.settled({ timeout: "30s" })
assert.equal(outcome.ok, false)
assert.equal((await charged.snapshot()).attempt, 1)
// A job that has failed for good is a dead letter: look at it, mend the cause, run it again with job.retry() or queue.redrive().
const { jobs } = await tusk.queue("default").deadLetters()
console.log("dead letter:", jobs[0]?.task, jobs[0]?.error?.message)
assert.equal(jobs[0]?.id, charged.id)

assert.equal(await (await waitForShop.enqueue()).result({ timeout: "30s" }), 1)

await tusk.close()
