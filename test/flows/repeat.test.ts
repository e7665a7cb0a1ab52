/** repeatEvery: each success enqueues the next run, in the statement that records it. */
import { describe, expect, test } from "vitest"
import { currentJob, snooze, task } from "../../src/index.js"
import { waitFor } from "../support/wait.js"
import { ground, reaches } from "../worker/ground.js"

const on = ground()

interface Seen {
  id: string
  args: unknown[]
  attempt: number
  headers: unknown
  maxAttempts: number
}

/** A task of its own queue; `behave` decides what its run does. */
function chain(behave: (run: number) => unknown = () => undefined, options: object = {}) {
  const name = on.name("chain")
  const seen: Seen[] = []
  const repeated = task({ name, queue: name, ...options }, async (...args: unknown[]) => {
    const { id, attempt, headers, maxAttempts } = currentJob()
    seen.push({ id, args, attempt, headers, maxAttempts })
    return await behave(seen.length)
  })
  return { name, seen, repeated }
}
const live = (queue: string): Promise<any[]> => on.db.query("select * from tusk.jobs where queue = $1 order by seq", [queue])
const finished = (queue: string): Promise<any[]> => on.db.query("select * from tusk.finished_jobs where queue = $1 order by finished_at", [queue])

describe("the chain", () => {
  test("goes on: each run is a job of its own, due one interval after the end of the last", async () => {
    const tusk = on.open()
    const { name, seen, repeated } = chain()
    await tusk.work({ queues: [name], poll: "1m" })
    await repeated.with({ repeatEvery: "200ms" }).enqueue("a", 2)
    await waitFor(() => seen.length >= 4)
    expect(new Set(seen.map((run) => run.id)).size).toBe(seen.length)
    expect(seen.every((run) => JSON.stringify(run.args) === '["a",2]')).toBe(true)
    const runs = await finished(name)
    for (let i = 1; i < runs.length; i++) {
      expect(runs[i].created_at).toEqual(runs[i - 1].finished_at)
      expect(runs[i].run_at.getTime() - runs[i - 1].finished_at.getTime()).toBe(200)
      expect(runs[i].started_at.getTime()).toBeGreaterThanOrEqual(runs[i].run_at.getTime())
    }
    expect(await live(name)).toHaveLength(1)
  })

  test("keeps its options, and begins its ttl afresh when it is due", async () => {
    const tusk = on.open()
    const { name, seen, repeated } = chain(() => undefined, { keep: { completed: "2d" } })
    const worker = await tusk.work({ queues: [name] })
    // A ttl shorter than the interval must not end the chain.
    const options = { repeatEvery: "1h", ttl: 60, priority: 2, retries: 3, timeout: "5s", headers: { tenant: "a" }, backoff: { fixed: 1 } } as const
    const first = await repeated.with(options).enqueue({ deep: [1n] })
    await first.result()
    await worker.drain()
    const [next] = await live(name)
    expect(next).toMatchObject({
      state: "delayed",
      priority: 2,
      max_attempts: 4,
      headers: { tenant: "a" },
      args: [{ deep: [{ $bigint: "1" }] }],
      attempt: 0,
    })
    expect(next.options).toEqual((await finished(name))[0].options)
    expect(next.options).toMatchObject({ timeoutMs: 5_000, backoff: { fixed: 1 }, keep: { completed: 172_800_000 } })
    expect(next.expires_at.getTime() - next.run_at.getTime()).toBe(60_000)
    // The next one runs with them, and makes its next.
    await tusk.work({ queues: [name] })
    await tusk.job(next.id).promote()
    await tusk.job(next.id).result()
    expect(seen[1]).toMatchObject({ args: [{ deep: [1n] }], headers: { tenant: "a" }, maxAttempts: 4 })
    expect(await live(name)).toMatchObject([{ options: next.options, max_attempts: 4 }])
  })

  test("takes what it leaves out from the published task", async () => {
    const tusk = on.open()
    const { name } = chain(() => undefined, { retries: 2, ttl: "1h", priority: 7 })
    const worker = await tusk.work({ queues: [name] })
    const [{ id }] = await on.db.query(`select tusk.enqueue($1, '["sql"]', '{"repeatEvery": "1h"}') as id`, [name])
    await tusk.job(id).result()
    await worker.drain()
    const [next] = await live(name)
    expect(next).toMatchObject({ priority: 7, max_attempts: 3, args: ["sql"] })
    expect(next.expires_at.getTime() - next.run_at.getTime()).toBe(3_600_000)
  })

  test("survives a restart", async () => {
    const first = on.open()
    const { name, seen, repeated } = chain()
    const worker = await first.work({ queues: [name] })
    await repeated.with({ repeatEvery: "100ms" }).enqueue()
    await waitFor(() => seen.length >= 2)
    await worker.drain()
    const before = seen.length
    expect(await live(name)).toHaveLength(1)
    await on.open().work({ queues: [name] })
    await waitFor(() => seen.length >= before + 2)
  })

  test("goes on with keep: false, when nothing of a run remains", async () => {
    const tusk = on.open()
    const { name, seen, repeated } = chain(() => undefined, { keep: { completed: false } })
    await tusk.work({ queues: [name] })
    await repeated.with({ repeatEvery: "50ms" }).enqueue()
    await waitFor(() => seen.length >= 3)
    expect(await finished(name)).toEqual([])
  })

  test("in a transactional handler", async () => {
    const tusk = on.open()
    const { name, seen, repeated } = chain(() => undefined, { transactional: true })
    await tusk.work({ queues: [name] })
    await repeated.with({ repeatEvery: "50ms" }).enqueue()
    await waitFor(() => seen.length >= 3)
    expect(new Set(seen.map((run) => run.id)).size).toBe(seen.length)
  })
})

describe("it stops", () => {
  test("cancelled between two runs", async () => {
    const tusk = on.open()
    const { name, seen, repeated } = chain()
    await tusk.work({ queues: [name] })
    const first = await repeated.with({ repeatEvery: "1h" }).enqueue()
    await first.result()
    const [next] = await live(name)
    expect(await tusk.job(next.id).cancel()).toBe(true)
    expect([await live(name), seen.length]).toEqual([[], 1])
  })

  test("cancelled while it runs: the success that comes too late makes no next run", async () => {
    const tusk = on.open()
    const { name, seen, repeated } = chain(async () => {
      await new Promise((resolve) => currentJob().signal.addEventListener("abort", resolve))
      return "too late"
    })
    await tusk.work({ queues: [name] })
    const job = await repeated.with({ repeatEvery: "50ms" }).enqueue()
    await waitFor(() => seen.length === 1)
    await job.cancel()
    await reaches(job, "cancelled")
    expect(await live(name)).toEqual([])
  })

  test("with a final failure; its retry takes the chain up again", async () => {
    const tusk = on.open()
    const { name, seen, repeated } = chain((run) => {
      if (run === 2) throw new Error("once")
    })
    await tusk.work({ queues: [name] })
    await repeated.with({ repeatEvery: "50ms", ttl: "1h" }).enqueue()
    await waitFor(async () => (await on.counts(name)).failed === 1)
    expect(await live(name)).toEqual([])
    const failed = (await finished(name)).find((row) => row.state === "failed")
    expect(await tusk.job(failed.id).retry()).toBe(true)
    await waitFor(() => seen.length >= 4)
    const [next] = await waitFor(async () => {
      const rows = await live(name)
      return rows.length === 1 && rows[0].state === "delayed" ? rows : undefined
    })
    // The traces of the retry are not handed down.
    expect(next.options).toEqual({ repeat: { everyMs: 50, maxAttempts: 1, ttlMs: 3_600_000 } })
    expect(next.max_attempts).toBe(1)
  })

  test("removed", async () => {
    const tusk = on.open()
    const { name, seen, repeated } = chain()
    await tusk.work({ queues: [name] })
    await (await repeated.with({ repeatEvery: "1h" }).enqueue()).result()
    await tusk.job((await live(name))[0].id).remove()
    expect([await live(name), seen.length]).toEqual([[], 1])
  })
})

test("a failed attempt and a snooze make no next run: only the success does", async () => {
  const tusk = on.open()
  const { name, seen, repeated } = chain((run) => {
    if (run === 1) throw new Error("again")
    if (run === 2) snooze("10ms")
  })
  await tusk.work({ queues: [name] })
  const job = await repeated.with({ repeatEvery: "1h", retries: 1, backoff: 0 }).enqueue()
  await job.result()
  expect(seen.map((run) => run.id)).toEqual([job.id, job.id, job.id])
  expect(await live(name)).toHaveLength(1)
})

describe("its keys", () => {
  test("a deduplication key stays with the chain, so that a second start does not make a second chain", async () => {
    const tusk = on.open()
    const { name, seen, repeated } = chain()
    await tusk.work({ queues: [name] })
    const once = repeated.with({ repeatEvery: "1h", deduplicate: "poll" })
    const first = await once.enqueue()
    await first.result()
    const again = await once.enqueue()
    const [next] = await live(name)
    expect([again.id, again.created]).toEqual([next.id, false])
    expect(await tusk.queue(name).owner("poll")).toBe(next.id)
    // It ends with the chain.
    await tusk.job(next.id).cancel()
    expect(await tusk.queue(name).owner("poll")).toBeNull()
    expect((await once.enqueue()).created).toBe(true)
    await waitFor(() => seen.length === 2)
  })

  test("a custom id finds the chain's present run", async () => {
    const tusk = on.open()
    const { name, repeated } = chain()
    await tusk.work({ queues: [name] })
    const first = await repeated.with({ repeatEvery: "1h", id: "poller" }).enqueue()
    await first.result()
    const [next] = await live(name)
    expect((await tusk.queue(name).job("poller"))?.id).toBe(next.id)
    expect((await tusk.job(next.id).snapshot()).customId).toBe("poller")
    expect(await repeated.with({ id: "poller" }).enqueue()).toMatchObject({ id: next.id, created: false })
    // Removing an old run gives nothing away.
    await first.remove()
    expect((await tusk.queue(name).job("poller"))?.id).toBe(next.id)
    await tusk.job(next.id).remove()
    expect(await tusk.queue(name).job("poller")).toBeUndefined()
  })

  test("a throttle holds for its own time, chain or not", async () => {
    const tusk = on.open()
    const { name, repeated } = chain()
    await tusk.work({ queues: [name] })
    const first = await repeated.with({ repeatEvery: "1h", deduplicate: { key: "t", ttl: "1h" } }).enqueue()
    await first.result()
    expect(await tusk.queue(name).owner("t")).toBe(first.id)
  })

  test("of many chains that end in one batch", async () => {
    const tusk = on.open()
    const { name, seen, repeated } = chain()
    const jobs = await Promise.all(Array.from({ length: 50 }, (_, i) => repeated.with({ repeatEvery: "1h", deduplicate: `k${i}` }).enqueue(i)))
    await tusk.work({ queues: { [name]: 50 } })
    await Promise.all(jobs.map((job) => job.result()))
    expect(seen).toHaveLength(50)
    const owners = await on.db.query("select k.key, j.args from tusk.keys k join tusk.jobs j on j.id = k.job_id where j.queue = $1", [name])
    expect(owners).toHaveLength(50)
    expect(owners.filter((row) => row.key !== `k${row.args[0]}`)).toEqual([])
  })
})
