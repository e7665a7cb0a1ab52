import { expect, test } from "vitest"
import { task } from "../../src/index.js"
import { waitFor } from "../support/wait.js"
import { ground, reaches } from "./ground.js"

const g = ground()

test("a job of an unknown task stays waiting, burns no attempt, and others run past it", async () => {
  const queue = g.name("q")
  const known = task({ name: g.name("known"), queue }, (n: number) => n)
  const tusk = g.open()
  const strangers = await Promise.all(Array.from({ length: 30 }, () => tusk.enqueue("nobody.knows", [], { queue, retries: 0 })))
  await tusk.work({ queues: { [queue]: 2 } })
  const jobs = await known.enqueueMany(Array.from({ length: 100 }, (_, n) => [n]))
  for (const [n, job] of jobs.entries()) expect(await job.result({ timeout: 10 })).toBe(n)
  for (const job of strangers) expect(await job.snapshot()).toMatchObject({ state: "waiting", attempt: 0, error: null, attempts: [] })
  expect(g.messages("error")).toEqual([])
})

test("a worker that knows the task runs it", async () => {
  const queue = g.name("q")
  const name = g.name("later")
  const tusk = g.open()
  const job = await tusk.enqueue(name, [20], { queue })
  await tusk.work({ queues: [queue], poll: "200ms" })
  // Defined after the worker has started.
  task({ name, queue }, (n: number) => n + 1)
  expect(await job.result({ timeout: 10 })).toBe(21)
})

test("tasks that are defined later are published for producers without the code", async () => {
  const queue = g.name("q")
  const name = g.name("later")
  const tusk = g.open()
  const worker = await tusk.work({ queues: [queue], lease: 1 })
  task({ name, queue, retries: 7, priority: 2, ttl: "1h" }, () => "ran")
  await waitFor(async () => (await g.db.query("select 1 from tusk.tasks where name = $1", [name])).length === 1, { what: "the task to be published" })
  // The worker's row is told next, in a statement of its own.
  const told = () => g.db.query("select 1 from tusk.workers where id = $1 and $2 = any (tasks)", [worker.id, name])
  await waitFor(async () => (await told()).length === 1, { what: "the worker to be known for the task" })
  const job = await tusk.enqueue(name)
  expect(job.queue).toBe(queue)
  expect(await job.snapshot()).toMatchObject({ priority: 2, maxAttempts: 8 })
})

test("a method's task waits until an instance is registered", async () => {
  const queue = g.name("q")
  const name = g.name("method")
  class Mail {
    readonly #from = "me"
    @task({ name, queue }) send(to: string): string {
      return `${this.#from} → ${to}`
    }
  }
  const tusk = g.open()
  await tusk.work({ queues: [queue], poll: "200ms" })
  const job = await tusk.enqueue(name, ["you"], { queue })
  const done = task({ name: g.name("t"), queue }, () => "ran past it")
  expect(await (await done.enqueue()).result({ timeout: 10 })).toBe("ran past it")
  expect(await job.state()).toBe("waiting")
  tusk.register(new Mail())
  expect(await job.result({ timeout: 10 })).toBe("me → you")
})

test("a queue full of unknown tasks is not looked through again and again", async () => {
  const queue = g.name("q")
  const tusk = g.open()
  await tusk.enqueue("nobody.knows", [], { queue })
  const scans = async (): Promise<number> =>
    (await g.db.query("select pg_stat_force_next_flush(), idx_scan::int as n from pg_stat_user_indexes where indexrelname = 'jobs_claim'"))[0].n
  const known = task({ name: g.name("known"), queue: g.name("q") }, () => "x")
  await tusk.work({ queues: [queue, known.options.queue!], poll: 60 })
  await (await known.enqueue()).result({ timeout: 10 })
  // What was scanned before may be counted late: a session tells of it when it finds the time.
  let scanned = Number.POSITIVE_INFINITY
  for (let looks = 0; looks < 6 && scanned > 4; looks++) {
    const before = await scans()
    const since = performance.now()
    await waitFor(() => performance.now() - since > 1_500)
    scanned = (await scans()) - before
  }
  expect(scanned).toBeLessThanOrEqual(4)
  await reaches(await known.enqueue(), "completed")
})
