/** A round of the library in a database: what came of it, in a form that two rounds can be compared by. */

import type { JobEvent } from "../../src/api/events.js"
import { flow, task } from "../../src/index.js"
import type { Tusk } from "../../src/tusk.js"
import { currentJob } from "../../src/worker/run/current-job.js"
import { waitFor } from "../support/wait.js"

const DATE = new Date("2031-02-03T04:05:06.789Z")
const VALUES = [
  DATE,
  12345678901234567890n,
  new Uint8Array([0, 92, 255]),
  0.1 + 0.2,
  1e-7,
  123456789.12345,
  "O'Ne\\il \\' é 😀",
  null,
  [null, "null"],
]

const echo = task({ name: "round.echo", retries: 0 }, async (...values: unknown[]) => values)
const flaky = task({ name: "round.flaky", retries: 1, backoff: { fixed: "123ms" } }, async () => {
  if (currentJob().attempt === 1) throw new Error("the first time")
  return currentJob().createdAt
})
const broken = task({ name: "round.broken", retries: 0, keep: { failed: "2h" } }, async () => {
  throw Object.assign(new Error("always"), { code: "E_ALWAYS" })
})
const limited = task(
  { name: "round.limited", queue: "round-limits", concurrency: { limit: 1, key: () => "a" }, rateLimit: { limit: 100, per: "10s" } },
  async (n: number) => n,
)
/** Of the round under way. */
let client: Tusk
const saved = task({ name: "round.saved", transactional: true }, async (n: number) => {
  await echo.with({ via: client, tx: currentJob().tx, queue: "round", id: `inner-${n}` }).enqueue(n)
  await echo.with({ via: client, tx: currentJob().tx, queue: "round" }).enqueue(n)
  return n
})
const sum = task({ name: "round.sum" }, async (a: number, b: number) => a + b)

/** How far an instant is from where it should be, in whole minutes: equal on every run. */
const minutes = (at: Date | null, from: Date): number | string =>
  at instanceof Date ? Math.round((at.getTime() - from.getTime()) / 60_000) + 0 : String(at)

export async function round(tusk: Tusk, sql: (text: string, params?: readonly unknown[]) => Promise<any[]>): Promise<unknown> {
  const began = new Date()
  const found: Record<string, unknown> = {}
  found["applied"] = (await tusk.migrate()).applied
  const via = tusk
  client = tusk
  const queue = "round"

  const events: JobEvent[] = []
  const subscription = tusk.events.on("*", (event) => events.push(event))
  await subscription.ready

  // Stored before a worker is there.
  const values = await echo.with({ via, queue, ttl: "3h", headers: { trace: "é \\ '" } }).enqueue(...VALUES)
  const later = await echo.with({ via, queue, delay: "90m", ttl: "5h", priority: 3 }).enqueue("later")
  const dated = await echo.with({ via, queue, delay: DATE }).enqueue("dated")
  const many = await echo.with({ via, queue, concurrencyKey: "c" }).enqueueMany(Array.from({ length: 7 }, (_, i) => [i, null, 'a,b{}"\\']))
  const mixed = await tusk.enqueueMany([echo.call("x").with({ delay: "1h" }), echo.call("y").with({ rateLimitKey: "r" })], { queue: "elsewhere" })
  const once = await echo.with({ via, queue, deduplicate: { key: "k", ttl: "1h" } }).enqueue(1)
  const twice = await echo.with({ via, queue, deduplicate: { key: "k", ttl: "1h" } }).enqueue(2)
  found["deduplicated"] = [once.created, twice.created, twice.id === once.id, (await tusk.queue(queue).owner("k")) === once.id]
  found["snapshots"] = await Promise.all(
    [values, later, dated].map(async (job) => {
      const { state, args, runAt, expiresAt, createdAt, headers, priority } = await job.snapshot()
      // The instant of a fixed date is looked at below: the minutes to it differ from round to round.
      const times = [job === dated ? null : runAt, expiresAt, createdAt].map((at) => minutes(at, began))
      return { state, args, headers, priority, times }
    }),
  )
  found["exact"] = (await dated.snapshot()).runAt
  found["explained"] = (await later.explain()).reasons.map((r) => ({ code: r.code, until: minutes(r.until ?? null, began) }))
  found["counts"] = [await tusk.queue(queue).counts(), mixed.length]
  const oldest = (await tusk.queue(queue).info()).oldestWaiting
  found["oldest"] = minutes(oldest, began)

  // In transactions.
  await tusk.transaction(async (tx) => {
    await echo.with({ via, tx, queue, id: "in-tx" }).enqueue("tx", DATE)
    await echo.with({ via, tx, queue, delay: "2h" }).enqueue("tx plain")
  })
  const [byHand] = await sql(
    `select "${tusk.schema}".enqueue('round.echo', '["sql"]', '{"queue": "round", "delay": "123456ms", "ttl": "1d", "id": "by-hand"}') as id`,
  )
  found["byHand"] = [minutes((await tusk.job(byHand.id).snapshot()).runAt, began), (await tusk.queue(queue).job("by-hand"))?.id === byHand.id]

  // Searched, a page at a time.
  const pages: number[] = []
  let after: string | undefined
  do {
    const page = await tusk.jobs({
      queue,
      order: "oldest",
      limit: 4,
      since: new Date(began.getTime() - 3_600_000),
      until: DATE,
      ...(after === undefined ? {} : { after }),
    })
    pages.push(page.jobs.length)
    after = page.next ?? undefined
  } while (after !== undefined)
  found["pages"] = pages
  found["searched"] = [
    (await tusk.jobs({ queue, args: ["dated"] })).jobs.map((job) => job.runAt),
    (await tusk.jobs({ text: "O'Ne\\il" })).jobs.length,
    (await tusk.jobs({ until: new Date("0099-01-01T00:00:00Z") })).jobs.length,
  ]

  // Run.
  const worker = await tusk.work({ queues: { [queue]: 5, "round-limits": 3 } })
  const ended = await values.result({ timeout: "60s" })
  found["result"] = ended
  const retried = await flaky.with({ via, queue }).enqueue()
  found["retried"] = minutes(await retried.result({ timeout: "60s" }), began)
  const attempts = (await retried.snapshot()).attempts
  found["attempts"] = attempts.map((a) => [
    a.attempt,
    a.error?.message,
    minutes(a.startedAt, began),
    minutes(a.endedAt, began),
    a.endedAt >= a.startedAt,
  ])
  const lost = await broken.with({ via, queue }).enqueue()
  const outcome = await lost.settled({ timeout: "60s" })
  const dead = (await tusk.queue(queue).deadLetters()).jobs[0]
  found["failed"] = [outcome.ok, dead?.error?.code, dead?.error?.message, minutes(dead?.finishedAt ?? null, began)]
  found["redriven"] = [await tusk.queue(queue).redrive({ preview: true }), await tusk.queue(queue).redrive()]
  await lost.settled({ timeout: "60s" })
  found["limits"] = await Promise.all((await limited.with({ via }).enqueueMany([[1], [2], [3]])).map((job) => job.result({ timeout: "60s" })))
  found["transactional"] = await (await saved.with({ via, queue }).enqueue(1)).result({ timeout: "60s" })
  found["inner"] = (await tusk.queue(queue).job("inner-1")) !== undefined
  found["many"] = await Promise.all(many.map((job) => job.result({ timeout: "60s" })))
  found["flow"] = await (
    await flow("round.flow", (f) => {
      const a = f.add(sum.call(1, 2))
      return f.add(sum.call(a.result, 4), { after: [a] })
    })
      .enqueue({ via })
      .then(async (job) => {
        const second = await tusk.work({ queues: ["default"] })
        const value = await job.result({ timeout: "60s" })
        await second.stop()
        return { result: async () => value }
      })
  ).result()
  found["moved"] = [
    await later.reschedule("10m"),
    minutes((await later.snapshot()).runAt, new Date()),
    await dated.promote(),
    await dated.result({ timeout: "60s" }),
  ]

  // Schedules.
  const schedule = await echo
    .with({ via, queue })
    .schedule("daily", { cron: "0 9 * * *", tz: "UTC", from: DATE, until: new Date("2031-12-31T00:00:00Z") }, 1, DATE)
  found["schedule"] = { ...schedule, again: (await tusk.schedules.get("daily"))?.nextRunAt, preview: await tusk.schedules.preview("daily", 3) }
  await tusk.schedules.pause("daily")
  await tusk.schedules.resume("daily")
  found["resumed"] = (await tusk.schedules.list()).map((s) => [s.id, s.nextRunAt, s.lastRunAt, s.paused, s.args])
  await echo.with({ via, queue }).schedule("often", { every: "300ms", limit: 2 }, "tick")
  await waitFor(async () => (await tusk.schedules.get("often"))?.nextRunAt === null, { what: "the schedule to fire twice", timeout: 30_000 })
  found["fired"] = minutes((await tusk.schedules.get("often"))?.lastRunAt ?? null, new Date())

  // Administration.
  found["workers"] = (await tusk.workers()).map((w) => [w.version, w.queues, minutes(w.startedAt, new Date()), minutes(w.heartbeatAt, new Date())])
  await tusk.queue(queue).configure({ keep: { completed: "20d" }, rateLimit: { limit: 1000, per: "1s" } })
  const kept = await echo.with({ via, queue }).enqueue("kept")
  await kept.result({ timeout: "60s" })
  const [row] = await sql(
    `select pg_catalog.round(extract(epoch from keep_until operator(pg_catalog.-) finished_at) operator(pg_catalog./) 8640)::pg_catalog.int4::pg_catalog.text as tenths from "${tusk.schema}".finished_jobs where id operator(pg_catalog.=) $1`,
    [kept.id],
  )
  found["kept"] = Number(row?.tenths)
  found["cancelled"] = [await later.cancel("enough"), (await later.settled({ timeout: "60s" })).ok, await lost.remove()]
  found["cleaned"] = (await tusk.queue("round-limits").clean({ state: "completed" })).length
  await waitFor(
    () => ["job:completed", "job:failed", "job:retrying", "job:cancelled", "job:deduplicated"].every((n) => events.some((e) => e.name === n)),
    { what: "the events" },
  )
  found["events"] = events.every((event) => Math.abs(event.at.getTime() - Date.now()) < 600_000)
  await worker.drain()
  await tusk.close()
  return found
}
