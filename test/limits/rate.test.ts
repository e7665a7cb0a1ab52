/** At most so many starts in any window of a length, over all workers. */
import { beforeAll, expect, test } from "vitest"
import { task } from "../../src/index.js"
import { waitFor } from "../support/wait.js"
import { ground, reaches } from "../worker/ground.js"
import { keepBook, limitedProcess } from "./processes.js"

const on = ground()
/** How late a handler may be called on a busy machine, beyond what the window is longer for. */
const LATENCY_MS = 50

/** The most instants in any window of this length. */
function mostWithin(instants: readonly number[], ms: number): number {
  const sorted = [...instants].sort((a, b) => a - b)
  return Math.max(...sorted.map((from, i) => sorted.slice(i).filter((at) => at < from + ms).length))
}

beforeAll(() => keepBook(on.db))

test("I11: a sliding window holds over two processes, for each key, and none is wasted", { timeout: 60_000 }, async () => {
  const tusk = on.open()
  const [queue, name] = [on.name("q"), on.name("t")]
  const settings = { queue, task: name, workers: 1, slots: 10, ms: 0, rateLimit: { limit: 5, per: "400ms" as const } }
  await Promise.all([limitedProcess(on.db.url, settings), limitedProcess(on.db.url, settings)])
  const keys = ["a", "b"]
  await Promise.all(keys.flatMap((key) => Array.from({ length: 20 }, () => tusk.enqueue(name, [key], { queue, rateLimitKey: key }))))
  await waitFor(async () => (await on.counts(queue)).completed === 40, { timeout: 30_000 })
  for (const key of keys) {
    const claimed = await on.db.query(
      "select extract(epoch from started_at)::float8 * 1000 as at from tusk.finished_jobs where queue = $1 and rate_key = $2",
      [queue, key],
    )
    expect(claimed).toHaveLength(20)
    const begun = await on.db.query("select called as at from runs where key = $1", [key])
    // The server grants a start after the claim's transaction began, and before the handler is called: five grants later, a window has passed.
    const [earliest, latest] = [claimed, begun].map((rows) => rows.map((row) => row.at as number).sort((a, b) => a - b)) as [number[], number[]]
    for (let i = 5; i < 20; i++) expect(latest[i]! - earliest[i - 5]!).toBeGreaterThanOrEqual(400)
    expect(
      mostWithin(
        begun.map((row) => row.at),
        400 - LATENCY_MS,
      ),
    ).toBeLessThanOrEqual(5)
    // Four windows for twenty starts: three full waits and no more, however long each look takes on a busy machine.
    expect(latest[19]! - earliest[0]!).toBeGreaterThanOrEqual(1_200)
  }
})

test("0 starts none; what must wait stays waiting, and explain says why", async () => {
  const tusk = on.open()
  const queue = on.name("q")
  const never = task({ name: on.name("never"), queue, rateLimit: { limit: 0, per: "1s" } }, () => "ran")
  const other = task({ name: on.name("other"), queue }, () => "ran")
  await tusk.work({ queues: [queue] })
  const job = await never.enqueue()
  expect(await (await other.enqueue()).result()).toBe("ran")
  expect(await job.state()).toBe("waiting")
  const { reasons } = await job.explain()
  expect(reasons).toEqual([{ code: "rate-limit", message: `The rate limit of its task "${never.taskName}" is 0 starts in 1 s: it never starts` }])
})

test("a token bucket lets `limit` go at once, and one more every per / limit", async () => {
  const tusk = on.open()
  const queue = on.name("q")
  const rate = { limit: 4, per: "800ms", strategy: "token-bucket" } as const
  const called: number[] = []
  const spent = task({ name: on.name("spent"), queue, rateLimit: rate }, () => void called.push(performance.timeOrigin + performance.now()))
  await tusk.work({ queues: { [queue]: 10 } })
  const jobs = await spent.enqueueMany(Array.from({ length: 8 }, () => []))
  await Promise.all(jobs.map((job) => job.result({ timeout: 10 })))
  const rows = await on.db.query("select extract(epoch from started_at)::float8 * 1000 as at from tusk.finished_jobs where queue = $1 order by 1", [
    queue,
  ])
  const at = rows.map((row) => row.at as number)
  expect(at[3]! - at[0]!).toBeLessThan(150)
  // The i-th token beyond the bucket comes no earlier than i fifths of a second after the bucket was full: the server grants a start after the
  // claim's transaction began, and before the handler is called.
  called.sort((a, b) => a - b)
  for (let i = 4; i < 8; i++) expect(called[i]! - at[0]!).toBeGreaterThan((i - 3) * 200 - 5)
})

test("a queue's rate holds for all its tasks; changed or lifted, it bites at once", async () => {
  const tusk = on.open()
  const queue = on.name("q")
  const a = task({ name: on.name("a"), queue }, () => undefined)
  const b = task({ name: on.name("b"), queue, concurrency: { limit: 2 } }, () => undefined)
  await tusk.queue(queue).configure({ rateLimit: { limit: 3, per: "1h" } })
  await tusk.work({ queues: { [queue]: 10 }, poll: "5m" })
  await Promise.all([...Array.from({ length: 4 }, () => a.enqueue()), ...Array.from({ length: 4 }, () => b.enqueue())])
  await waitFor(async () => (await on.counts(queue)).completed === 3)
  const [waiting] = (await tusk.queue(queue).jobs({ state: "waiting" })).jobs
  const { reasons } = await tusk.job(waiting!.id).explain()
  expect(reasons.map((reason) => reason.code)).toEqual(["rate-limit"])
  expect(reasons[0]!.until!.getTime()).toBeGreaterThan(Date.now() + 3_000_000)
  await tusk.queue(queue).configure({ rateLimit: { limit: 5, per: "1h" } })
  await waitFor(async () => (await on.counts(queue)).completed === 5)
  await tusk.queue(queue).configure({ rateLimit: null })
  await waitFor(async () => (await on.counts(queue)).completed === 8)
})

test("every run is a start: repeated attempts count", async () => {
  const tusk = on.open()
  const queue = on.name("q")
  let runs = 0
  const flaky = task({ name: on.name("flaky"), queue, retries: 5, backoff: 0, rateLimit: { limit: 2, per: "1h" } }, () => {
    runs++
    throw new Error("again")
  })
  await tusk.work({ queues: [queue] })
  const job = await flaky.enqueue()
  await waitFor(async () => runs === 2 && (await job.explain()).reasons[0]?.code === "rate-limit")
  await reaches(job, "waiting")
  expect(runs).toBe(2)
})

test("a window with many starts keeps few entries, and what is over is pruned", async () => {
  const key = on.name("k")
  const rule = JSON.stringify({ limit: 1_000_000, perMs: 60_000, strategy: "sliding-window" })
  for (let i = 0; i < 50; i++) await on.db.query("select tusk.take_rate('task', 't', $1, $2, 10)", [key, rule])
  const [row] = await on.db.query(
    "select cardinality(starts) as entries, (select sum(n)::int from unnest(counts) n) as n from tusk.rates where key = $1",
    [key],
  )
  expect(row.n).toBe(500)
  expect(row.entries).toBeLessThan(10)
  const [room] = await on.db.query("select room from tusk.rate_room('task', 't', $1, $2)", [key, rule])
  expect(room.room).toBe(999_500)
  await on.db.query("update tusk.rates set expires_at = now() - interval '1 second' where key = $1", [key])
  const tusk = on.open()
  await tusk.work({ queues: [on.name("q")] })
  await waitFor(async () => (await on.db.query("select from tusk.rates where key = $1", [key])).length === 0)
})
