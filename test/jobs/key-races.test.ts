/** I8: a key has one owner, whatever happens at once. */
import { describe, expect, test } from "vitest"
import type { Job } from "../../src/api/job.js"
import { task } from "../../src/index.js"
import { sqlStateOf } from "../../src/postgres/run/sqlstate.js"
import type { Tusk } from "../../src/tusk.js"
import { seeded } from "../support/seed.js"
import { deferred, within } from "../support/wait.js"
import { bench, connect, openTusk, startWorker, waitForLock } from "./setup.js"

const on = bench({ logger: { debug() {}, info() {}, warn() {}, error() {} } })
const work = task({ name: "work" }, async (n: number) => n)

const silent = { debug() {}, info() {}, warn() {}, error() {} }
/** Clients of their own, so that their calls do not fold. */
const clients = (n: number): Tusk[] => Array.from({ length: n }, () => openTusk({ connectionString: on.db.url, logger: silent }))

describe("50 callers at once", () => {
  test.each([
    ["a custom id", { id: "one" }],
    ["a key", { deduplicate: "one" }],
    ["a throttle key", { deduplicate: { key: "one", ttl: 60 } }],
    ["a debounce key", { deduplicate: { key: "one", replace: true }, delay: 60 }],
  ])("%s has one owner, and all get its handle", async (_, options) => {
    const tusks = clients(10)
    const jobs = await Promise.all(Array.from({ length: 50 }, (_, i) => work.with({ via: tusks[i % 10]!, ...options }).enqueue(i)))
    expect(new Set(jobs.map((job) => job.id)).size).toBe(1)
    expect(jobs.filter((job) => job.created)).toHaveLength(1)
    expect(await on.db.query("select id from tusk.jobs")).toEqual([{ id: jobs[0]!.id }])
  })

  test("in 50 transactions of their own, which all commit: no unique violation reaches a caller", async () => {
    const jobs = await Promise.all(
      clients(5).flatMap((tusk) =>
        Array.from({ length: 10 }, (_, i) => tusk.transaction((tx) => work.with({ via: tusk, tx, id: "one", deduplicate: "two" }).enqueue(i))),
      ),
    )
    expect(new Set(jobs.map((job) => job.id)).size).toBe(1)
    expect(jobs.filter((job) => job.created)).toHaveLength(1)
  })

  test("a key that was just released goes to one of them", async () => {
    const first = await work.with({ via: on.tusk, deduplicate: "one" }).enqueue(0)
    await first.remove()
    const tusks = clients(10)
    const jobs = await Promise.all(Array.from({ length: 50 }, (_, i) => work.with({ via: tusks[i % 10]!, deduplicate: "one" }).enqueue(i)))
    expect(jobs.filter((job) => job.created)).toHaveLength(1)
  })
})

describe("the owner's transaction is open", () => {
  async function race(end: "commit" | "rollback"): Promise<[Job<number>, Job<number>]> {
    const client = await connect(on.db.url)
    await client.query("begin")
    const first = await work.with({ via: on.tusk, tx: client, deduplicate: "k" }).enqueue(1)
    const second = work.with({ via: on.tusk, deduplicate: "k" }).enqueue(2)
    await waitForLock(on.db)
    await client.query(end)
    return [first, await second]
  }

  test("a second caller waits for it; it commits, and so it is the owner", async () => {
    const [first, second] = await race("commit")
    expect([second.created, second.id]).toEqual([false, first.id])
  })

  test("it rolls back, and the second caller is the owner; the first job never was", async () => {
    const [first, second] = await race("rollback")
    expect([second.created, second.id === first.id]).toEqual([true, false])
    expect(await on.db.query("select args from tusk.jobs")).toEqual([{ args: [2] }])
    expect(await on.db.query("select job_id from tusk.keys")).toEqual([{ job_id: second.id }])
  })

  test("a replacement that rolls back leaves the owner as it was", async () => {
    const view = work.with({ via: on.tusk, deduplicate: { key: "k", replace: true }, delay: 60 })
    const first = await view.enqueue(1)
    const client = await connect(on.db.url)
    await client.query("begin")
    await view.with({ tx: client, priority: 1 }).enqueue(2)
    await client.query("rollback")
    expect(await first.snapshot()).toMatchObject({ args: [1], priority: 5 })
  })
})

describe("batches that want the same keys in another order", () => {
  test("no deadlock, in statements of their own or in callers' transactions", async () => {
    const random = seeded()
    const keys = Array.from({ length: 40 }, (_, i) => `key ${i}`)
    const tusks = clients(6)
    const rounds = Array.from({ length: 15 }, () => random.shuffle(keys))
    const created = await Promise.all(
      tusks.map(async (tusk, t) => {
        let own = 0
        for (const order of rounds) {
          const calls = random
            .shuffle(order)
            .map((key) => work.call(t).with({ deduplicate: { key, replace: t % 2 === 0 }, delay: 60, id: `${key} id` }))
          // Every other client in a transaction of its own, where a deadlock could not be tried again.
          const jobs = t % 3 === 0 ? await tusk.enqueueMany(calls) : await tusk.transaction((tx) => tusk.enqueueMany(calls, { tx }))
          own += jobs.filter((job) => job.created).length
        }
        return own
      }),
    )
    expect(created.reduce((sum, n) => sum + n, 0)).toBe(keys.length)
    expect(await on.db.query("select count(*)::int as n from tusk.jobs")).toEqual([{ n: keys.length }])
    expect(await on.db.query("select deadlocks::int from pg_stat_database where datname = current_database()")).toEqual([{ deadlocks: 0 }])
  })

  test("nor against workers that finish, and callers that cancel and remove the owners meanwhile", async () => {
    const random = seeded()
    await startWorker(on.tusk, { queues: { default: 20 } })
    const keys = Array.from({ length: 12 }, (_, i) => `key ${i}`)
    const deadlocks = async (): Promise<number> =>
      (await on.db.query<{ n: number }>("select deadlocks::int as n from pg_stat_database where datname = current_database()"))[0]!.n
    const before = await deadlocks()
    const failures: unknown[] = []
    const tusks = clients(4)
    const seen: string[] = []
    await Promise.all(
      tusks.map(async (tusk, t) => {
        for (let round = 0; round < 25; round++) {
          const calls = random
            .shuffle(keys)
            .map((key) =>
              work.call(t).with({ deduplicate: { key, replace: random.chance() }, ...(random.chance(0.3) ? { delay: "1ms" } : {}), ttl: "1m" }),
            )
          try {
            const jobs = await (t % 2 === 0 ? tusk.enqueueMany(calls) : tusk.transaction((tx) => tusk.enqueueMany(calls, { tx })))
            seen.push(...jobs.map((job) => job.id))
            if (random.chance(0.3)) await Promise.all(random.shuffle(jobs).map((job) => (random.chance() ? job.cancel() : job.remove())))
          } catch (error) {
            failures.push(sqlStateOf(error) ?? error)
          }
        }
      }),
    )
    expect(failures).toEqual([])
    expect(await deadlocks()).toBe(before)
    // Nothing is left behind: whoever holds a key is alive.
    await within(
      Promise.all(
        [...new Set(seen)].map((id) =>
          on.tusk
            .job(id)
            .settled()
            .catch(() => undefined),
        ),
      ),
      20_000,
      "every job to end",
    )
    expect(await on.db.query("select k.key from tusk.keys k where not exists (select from tusk.jobs j where j.id = k.job_id)")).toEqual([])
  })
})

test("a caller's long transaction holds up no one but those who want its key", async () => {
  const client = await connect(on.db.url)
  await client.query("begin")
  await work.with({ via: on.tusk, tx: client, deduplicate: "held" }).enqueue(1)
  const other = openTusk({ connectionString: on.db.url })
  const blocked = work.with({ via: other, deduplicate: "held" }).enqueue(2)
  await waitForLock(on.db)
  const free = await work.with({ via: on.tusk, deduplicate: "free" }).enqueue(3)
  expect(free.created).toBe(true)
  await client.query("commit")
  expect((await blocked).created).toBe(false)
})

test("the end of an owner does not wait for a transaction in which a duplicate was found", async () => {
  const gate = deferred()
  const hold = task({ name: "hold" }, async () => gate.promise)
  await startWorker(on.tusk, { queues: ["default"] })
  const view = hold.with({ via: on.tusk, deduplicate: "k" })
  const owner = await view.enqueue()
  const client = await connect(on.db.url)
  await client.query("begin")
  expect((await view.with({ tx: client }).enqueue()).created).toBe(false)
  gate.resolve()
  await owner.result({ timeout: 10 })
  // It is over, so the key is free, for that transaction too.
  const next = await view.with({ tx: client, delay: 60 }).enqueue()
  expect(next.created).toBe(true)
  await client.query("commit")
  expect(await next.state()).toBe("delayed")
})
