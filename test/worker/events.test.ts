import { expect, test } from "vitest"
import { currentJob, type JobEvent, type JobEventName, snooze, task } from "../../src/index.js"
import { waitFor } from "../support/wait.js"
import { eventsOf, Gate, ground, reaches } from "./ground.js"

const g = ground()

test("every event of a job's life comes once, in order, with its id, task and queue", async () => {
  const queue = g.name("q")
  let runs = 0
  const busy = task({ name: g.name("t"), queue, progress: true, retries: 1, backoff: 0 }, (report) => {
    runs++
    if (runs === 1) snooze("1ms")
    report(0.5, { run: runs })
    if (runs === 2) throw new RangeError("second")
    return "done"
  })
  const tusk = g.open()
  const events = eventsOf(tusk)
  await tusk.work({ queues: [queue] })
  const job = await busy.enqueue()
  await job.result({ timeout: 10 })
  await waitFor(() => events.at(-1)?.name === "job:completed")
  expect(events.map((e) => [e.name, e.attempt])).toEqual([
    ["job:added", undefined],
    ["job:started", 1],
    ["job:snoozed", 1],
    ["job:started", 1],
    ["job:progress", 1],
    ["job:retrying", 1],
    ["job:started", 2],
    ["job:progress", 2],
    ["job:completed", 2],
  ] satisfies [JobEventName, number | undefined][])
  for (const event of events) {
    expect(event).toMatchObject({ id: job.id, task: busy.taskName, queue })
    expect(Math.abs(event.at.getTime() - Date.now())).toBeLessThan(60_000)
  }
  expect(events.find((e) => e.name === "job:progress")).toMatchObject({ progress: 0.5, data: { run: 2 } })
  expect(events.find((e) => e.name === "job:retrying")!.error).toMatchObject({ name: "RangeError", message: "second" })
})

test("ends that a worker decides: failed, expired, cancelled", async () => {
  const queue = g.name("q")
  const gate = new Gate()
  const fail = task({ name: g.name("fail"), queue }, () => {
    throw new Error("x")
  })
  const hold = task({ name: g.name("hold"), queue }, () => gate.pass("x", currentJob().signal))
  const tusk = g.open()
  const ends = new Map<string, JobEvent>()
  for (const name of ["job:failed", "job:expired", "job:cancelled"] as const) tusk.events.on(name, (event) => void ends.set(name, event))
  const stale = await hold.with({ ttl: "1ms", queue: g.name("nobody") }).enqueue()
  await tusk.work({ queues: [queue], poll: "200ms" })
  const failed = await fail.enqueue()
  const held = await hold.enqueue()
  await waitFor(() => gate.waiting === 1)
  await held.cancel("stop")
  await waitFor(() => ends.size === 3)
  expect(ends.get("job:failed")).toMatchObject({ id: failed.id, task: fail.taskName, queue, error: { message: "x" } })
  expect(ends.get("job:expired")).toMatchObject({ id: stale.id, task: hold.taskName, queue: stale.queue })
  expect(ends.get("job:cancelled")).toMatchObject({ id: held.id, task: hold.taskName, queue, error: { message: "stop" } })
})

test("ends that nobody ran for are told, here and in another process: cancelled, and children by their parents' ends, to the last generation", async () => {
  const queue = g.name("q")
  const idle = task({ name: g.name("t"), queue }, () => undefined)
  const tusk = g.open()
  const here = eventsOf(tusk)
  const far = g.open()
  const there: JobEvent[] = []
  await far.events.on("*", (event) => void there.push(event)).ready
  const on = { via: tusk }
  const parent = await idle.with(on).enqueue()
  const failing = await idle.with({ ...on, dependsOn: [{ job: parent, onFailure: "fail" }] }).enqueue()
  const grandchild = await idle.with({ ...on, dependsOn: [{ job: failing, onFailure: "cancel" }] }).enqueue()
  const other = await idle.with(on).enqueue()
  const orphan = await idle.with({ ...on, dependsOn: [other] }).enqueue()
  expect(await tusk.job(parent.id).cancel("not today")).toBe(true)
  expect(await tusk.job(other.id).remove()).toBe(true)
  const ends = [
    ["job:cancelled", parent.id, "not today"],
    ["job:failed", failing.id, `Its parent job ${parent.id} is cancelled`],
    ["job:cancelled", grandchild.id, `Its parent job ${failing.id} failed`],
    ["job:cancelled", orphan.id, `Its parent job ${other.id} was removed`],
  ]
  for (const events of [here, there]) {
    await waitFor(() => events.some((e) => e.id === orphan.id && e.name === "job:cancelled"))
    expect(events.filter((e) => e.name !== "job:added").map((e) => [e.name, e.id, e.error?.message])).toEqual(ends)
    for (const event of events) expect(event).toMatchObject({ task: idle.taskName, queue })
  }
  expect(await tusk.job(parent.id).retry()).toBe(true)
  for (const events of [here, there]) await waitFor(() => events.some((e) => e.name === "job:retrying" && e.id === parent.id))
})

test("a job that a dead worker left is told as stalled, at its last crash as failed, and as cancelled if it was cancelled", async () => {
  const queue = g.name("q")
  const run = task({ name: g.name("t"), queue, maxCrashes: 3 }, () => "ran")
  const tusk = g.open()
  const events = eventsOf(tusk)
  const jobs = await run.enqueueMany([[], [], []])
  const ids = jobs.map((job) => job.id)
  // As a worker leaves them that was killed: claimed, and its heartbeat old.
  await g.db.query(
    `with dead as (
       insert into tusk.workers (id, lease, pid, host, version, queues, tasks, heartbeat_at)
       values (gen_random_uuid(), '1 second', 1, 'gone', '0', '{}', '{}', now() - interval '1 hour') returning id)
     update tusk.jobs set state = 'active', worker_id = dead.id, lease = nextval('tusk.lease_seq'), attempt = 1, started_at = now(),
       crashes = case when tusk.jobs.id = $2 then 2 else 0 end, cancel_requested = tusk.jobs.id = $3,
       error = case when tusk.jobs.id = $3 then '{"name": "JobCancelledError", "message": "stop"}'::jsonb end
     from dead where tusk.jobs.id = any ($1::uuid[])`,
    [ids, ids[1], ids[2]],
  )
  await tusk.work({ queues: [queue], lease: 1 })
  expect(await jobs[0]!.result({ timeout: 10 })).toBe("ran")
  await reaches(jobs[1]!, "failed")
  await reaches(jobs[2]!, "cancelled")
  const of = (id: string) => events.filter((e) => e.id === id && e.name !== "job:added").map((e) => e.name)
  await waitFor(() => of(ids[0]!).length === 3)
  expect(of(ids[0]!)).toEqual(["job:stalled", "job:started", "job:completed"])
  expect(of(ids[1]!)).toEqual(["job:failed"])
  expect(of(ids[2]!)).toEqual(["job:cancelled"])
  expect(await jobs[0]!.snapshot()).toMatchObject({ attempt: 2, maxAttempts: 2, attempts: [{ error: { name: "WorkerLostError" } }, { error: null }] })
  expect((await jobs[1]!.snapshot()).error).toMatchObject({ name: "WorkerLostError", message: expect.stringContaining("maxCrashes is 3") })
})

test("a subscription ends when it is called, each by itself, also for a function that listens twice", async () => {
  const queue = g.name("q")
  const run = task({ name: g.name("t"), queue }, () => "ran")
  const tusk = g.open()
  const names: string[] = []
  const listener = (event: JobEvent): void => void names.push(event.name)
  const first = tusk.events.on("job:added", listener)
  const second = tusk.events.on("job:added", listener)
  await Promise.all([first.ready, second.ready])
  await run.enqueue()
  first()
  first()
  await run.enqueue()
  second()
  await run.enqueue()
  expect(names).toHaveLength(3)
})
