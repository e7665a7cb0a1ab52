import { expect, test } from "vitest"
import { task } from "../../src/index.js"
import { waitFor } from "../support/wait.js"
import { eventsOf, Gate, ground, reaches } from "./ground.js"

const g = ground()

/** Waits until the ttl of a live job is over, by the database's clock. */
async function isStale(id: string): Promise<void> {
  const over = "select 1 from tusk.jobs where id = $1 and expires_at <= now()"
  await waitFor(async () => (await g.db.query(over, [id])).length === 1, { what: "the ttl to be over" })
}

test("a job whose ttl runs out expires, also when no worker serves its queue; it is a dead letter", async () => {
  const nobody = g.name("q")
  const stale = task({ name: g.name("t"), queue: nobody, ttl: "300ms" }, () => "never")
  const tusk = g.open()
  const events = eventsOf(tusk)
  const job = await stale.enqueue()
  await tusk.work({ queues: [g.name("other")], poll: "500ms" })
  expect(await job.settled({ timeout: 10 })).toMatchObject({ ok: false, error: { code: "JOB_EXPIRED" } })
  expect(await g.row(job.id)).toMatchObject({ live: false, state: "expired", attempt: 0, started_at: null, error: { name: "JobExpiredError" } })
  expect(events.filter((e) => e.name === "job:expired")).toEqual([expect.objectContaining({ id: job.id, task: stale.taskName, queue: nobody })])
  // Kept as long as the failed ones.
  const [row] = await g.db.query("select (drop_on - now()::date) as days from tusk.finished_jobs where id = $1", [job.id])
  expect(row.days).toBeGreaterThanOrEqual(13)
})

test("delayed and blocked jobs expire too", async () => {
  const queue = g.name("q")
  const run = task({ name: g.name("t"), queue }, () => "ran")
  const tusk = g.open()
  const delayed = await run.with({ delay: "1h", ttl: "200ms" }).enqueue()
  const parent = await run.with({ delay: "1h" }).enqueue()
  const blocked = await run.with({ dependsOn: [parent], ttl: "200ms" }).enqueue()
  await tusk.work({ queues: [queue], poll: "300ms" })
  for (const job of [delayed, blocked]) expect(await job.settled({ timeout: 10 })).toMatchObject({ error: { code: "JOB_EXPIRED" } })
  expect(await parent.state()).toBe("delayed")
  expect(await g.db.query("select 1 from tusk.job_dependencies where child_id = $1", [blocked.id])).toEqual([])
})

test("a run that has started in time goes on beyond the ttl", async () => {
  const queue = g.name("q")
  const gate = new Gate()
  const slow = task({ name: g.name("t"), queue, ttl: 2 }, async () => {
    await gate.pass("x")
    return "late but started"
  })
  await g.work({ queues: [queue], poll: "200ms" })
  const job = await slow.enqueue()
  await waitFor(() => gate.waiting === 1)
  await isStale(job.id)
  expect(await job.state()).toBe("active")
  gate.open()
  expect(await job.result({ timeout: 10 })).toBe("late but started")
})

test("a retry that would come after the ttl expires when the ttl is over", async () => {
  const queue = g.name("q")
  let runs = 0
  const failing = task({ name: g.name("t"), queue, ttl: "2s", retries: 5, backoff: { fixed: "10s" } }, () => {
    runs++
    throw new Error("first run")
  })
  await g.work({ queues: [queue], poll: "300ms" })
  const job = await failing.enqueue()
  expect(await job.settled({ timeout: 10 })).toMatchObject({ error: { code: "JOB_EXPIRED" } })
  expect(runs).toBe(1)
  const snapshot = await job.snapshot()
  expect(snapshot).toMatchObject({ state: "expired", attempt: 1 })
  expect(snapshot.attempts[0]!.error!.message).toBe("first run")
})

test("a ttl begins anew with each retry by hand, at its own length", async () => {
  const queue = g.name("q")
  const stale = task({ name: g.name("t"), queue, ttl: "200ms" }, () => "never")
  const tusk = g.open()
  const job = await stale.enqueue()
  const duties = await tusk.work({ queues: [g.name("other")], poll: "200ms" })
  await reaches(job, "expired")
  await duties.stop()
  for (let round = 0; round < 3; round++) {
    // Later and later after the creation.
    expect(await job.retry()).toBe(true)
    const [row] = await g.db.query("select round(extract(epoch from expires_at - now()) * 1000)::int as left from tusk.jobs where id = $1", [job.id])
    expect(row.left).toBeLessThanOrEqual(200)
    await isStale(job.id)
    await g.db.query("select tusk.expire_jobs(100)")
    expect(await job.state()).toBe("expired")
  }
})
