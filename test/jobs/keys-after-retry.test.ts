/** A job that comes back takes its key again; one whose key another job owns by now stays as it is. */
import { describe, expect, test } from "vitest"
import { type Job, task } from "../../src/index.js"
import { waitFor } from "../support/wait.js"
import { ground, reaches } from "../worker/ground.js"

const on = ground()
const QUEUE = "kept"
const keyed = task({ name: "kept.keyed", queue: QUEUE, deduplicate: () => "k" }, async () => {
  throw new Error("always")
})
const plain = task({ name: "kept.plain", queue: QUEUE }, async () => {
  throw new Error("always")
})
const owner = (key = "k"): Promise<string | null> => on.open().queue(QUEUE).owner(key)
const keysOf = (id: string): Promise<any[]> =>
  on.db.query("select kind, key, release, extract(epoch from until - now())::float as left from tusk.keys where job_id = $1 order by kind, key", [id])
const clear = async (): Promise<void> => {
  for (const table of ["jobs", "finished_jobs", "keys", "job_dependencies"]) await on.db.query(`delete from tusk.${table}`)
}

type End = "failed" | "expired" | "cancelled"
/** A job of that end. */
async function ended(make: () => Promise<Job>, end: End = "failed"): Promise<Job> {
  const job = await make()
  if (end === "cancelled") await job.cancel()
  else if (end === "expired") {
    await on.db.query("update tusk.jobs set expires_at = now() where id = $1", [job.id])
    await on.db.query("select tusk.expire_jobs(10)")
  }
  // As rescue ends one: without a worker that would have to be started.
  else
    await on.db.query(
      `select tusk.settle(null, array[$1::uuid], null, array['failed'], null, null, array['{"name": "Error", "message": "always"}'::jsonb], null)`,
      [job.id],
    )
  expect(await job.state()).toBe(end)
  return job
}

describe("one that is retried", () => {
  test.each(["failed", "expired", "cancelled"] as const)("takes its key again after it has %s, and keeps it until its next end", async (end) => {
    await clear()
    on.open()
    const job = await ended(() => keyed.with({ delay: end === "failed" ? 0 : "1h" }).enqueue(), end)
    expect(await owner()).toBeNull()
    expect(await job.retry()).toBe(true)
    expect(await owner()).toBe(job.id)
    const again = await keyed.enqueue()
    expect([again.created, again.id]).toEqual([false, job.id])
    await job.cancel()
    expect(await owner()).toBeNull()
    expect(await job.retry()).toBe(true)
    expect(await owner()).toBe(job.id)
  })

  test("stays as it is while another job owns its key, and explain() names that one", async () => {
    await clear()
    on.open()
    const first = await ended(() => keyed.enqueue())
    const before = await on.row(first.id)
    const second = await keyed.with({ delay: "1h" }).enqueue()
    expect(second.created).toBe(true)
    expect(await first.retry()).toBe(false)
    expect(await on.row(first.id)).toEqual(before)
    const { reasons } = await first.explain()
    expect(reasons.map(({ code }) => code)).toEqual(["finished", "key-taken"])
    expect(reasons[1]!.message).toBe(`A retry leaves it as it is: job ${second.id} owns its deduplication key "k" now`)
    expect(await owner()).toBe(second.id)
    // Free again, and no reason any more.
    await second.remove()
    expect((await first.explain()).reasons.map(({ code }) => code)).toEqual(["finished"])
    expect(await first.retry()).toBe(true)
  })

  test("takes a key with a ttl for that long from the retry, and finds it taken while the ttl of another runs", async () => {
    await clear()
    on.open()
    const throttled = plain.with({ deduplicate: { key: "t", ttl: "1h" } })
    const first = await ended(() => throttled.enqueue())
    await on.db.query("update tusk.keys set until = now() + interval '1 minute'")
    expect(await first.retry()).toBe(true)
    const [own] = await keysOf(first.id)
    expect(own).toMatchObject({ key: "t", release: "time" })
    expect(own.left).toBeGreaterThan(3_500)
    await first.cancel()
    // Over, and pruned or not: another one gets it, and keeps it after it has ended.
    await on.db.query("update tusk.keys set until = now() - interval '1 second'")
    const second = await ended(() => throttled.enqueue())
    expect(second.created).toBe(true)
    expect(await first.retry()).toBe(false)
    expect((await first.explain()).reasons[1]!.message).toContain(second.id)
    await on.db.query("update tusk.keys set until = now() - interval '1 second'")
    expect(await first.retry()).toBe(true)
    expect((await keysOf(first.id))[0].left).toBeGreaterThan(3_500)
    expect(await keysOf(second.id)).toEqual([])
    await on.db.query("delete from tusk.keys")
    await first.cancel()
    expect(await first.retry()).toBe(true)
    expect((await keysOf(first.id))[0]).toMatchObject({ key: "t", release: "time" })
  })

  test("takes its custom id again, unless the id was given anew", async () => {
    await clear()
    const tusk = on.open()
    const first = await ended(() => plain.with({ id: "one", deduplicate: "both" }).enqueue())
    expect(await first.retry()).toBe(true)
    expect((await keysOf(first.id)).map(({ kind, left }) => [kind, left])).toEqual([
      ["id", null],
      ["key", null],
    ])
    await first.cancel()
    await on.db.query("update tusk.keys set until = now() - interval '1 second' where kind = 'id'")
    const second = await plain.with({ id: "one", delay: "1h" }).enqueue()
    expect(second.created).toBe(true)
    expect(await first.retry()).toBe(false)
    expect((await first.explain()).reasons[1]!.message).toBe(`A retry leaves it as it is: job ${second.id} owns its custom id "one" now`)
    // What it might have taken is free.
    expect(await keysOf(first.id)).toEqual([])
    expect((await tusk.queue(QUEUE).job("one"))?.id).toBe(second.id)
    await second.remove()
    expect(await first.retry()).toBe(true)
    expect((await tusk.queue(QUEUE).job("one"))?.id).toBe(first.id)
    // One that is refused for its key keeps the end of its own id's time.
    await first.cancel()
    const [own] = await keysOf(first.id)
    const rival = await plain.with({ deduplicate: "both", delay: "1h" }).enqueue()
    expect(await first.retry()).toBe(false)
    expect(Math.abs((await keysOf(first.id))[0].left - own.left)).toBeLessThan(60)
    await rival.remove()
  })

  test("between its runs it never gives its key up", async () => {
    await clear()
    on.open()
    const patient = task({ name: "kept.patient", queue: QUEUE, retries: 3, backoff: { fixed: "1h" }, deduplicate: () => "k" }, async () => {
      throw new Error("not yet")
    })
    const worker = await on.work({ queues: [QUEUE] })
    const job = await patient.enqueue()
    await reaches(job, "delayed")
    expect(await owner()).toBe(job.id)
    expect((await patient.enqueue()).created).toBe(false)
    await worker.stop()
  })

  test("a debounced one is found by the next call, and an older one finds its key taken", async () => {
    await clear()
    on.open()
    const calm = (n: number) => plain.with({ delay: "1h", priority: n, deduplicate: { key: "d", replace: true } }).enqueue()
    const first = await calm(1)
    expect((await calm(2)).id).toBe(first.id)
    await first.cancel()
    const second = await calm(3)
    expect(second.created).toBe(true)
    expect(await first.retry()).toBe(false)
    await second.cancel()
    expect(await second.retry()).toBe(true)
    expect(await first.retry()).toBe(false)
  })

  test("a repeated one: the next run has the key, and takes it again", async () => {
    await clear()
    on.open()
    let fails = false
    const chain = task({ name: "kept.chain", queue: QUEUE, deduplicate: () => "c" }, async () => {
      if (fails) throw new Error("now")
    })
    const worker = await on.work({ queues: [QUEUE] })
    const first = await chain.with({ repeatEvery: "1h" }).enqueue()
    await reaches(first, "completed")
    fails = true
    const next = on.open().job((await owner("c"))!)
    expect(next.id).not.toBe(first.id)
    await next.promote()
    await reaches(next, "failed")
    expect(await owner("c")).toBeNull()
    await worker.stop()
    expect(await next.retry()).toBe(true)
    expect(await owner("c")).toBe(next.id)
  })

  test("a job that 0.1.0 stored finds its key too, when it ends after the migration", async () => {
    await clear()
    on.open()
    const old = await keyed.with({ delay: "1h" }).enqueue()
    await on.db.query("update tusk.jobs set dedup_key = null")
    await old.cancel()
    expect(await owner()).toBeNull()
    const second = await keyed.with({ delay: "1h" }).enqueue()
    expect(await old.retry()).toBe(false)
    await second.remove()
    expect(await old.retry()).toBe(true)
    expect(await owner()).toBe(old.id)
  })
})

describe("redrive", () => {
  test("takes back the one that finished first of those with a key, and its count leaves the others out", async () => {
    await clear()
    const tusk = on.open()
    const failed: Job[] = []
    for (let n = 0; n < 4; n++) failed.push(await ended(() => keyed.enqueue()))
    const other = await ended(() => plain.enqueue())
    expect(await tusk.queue(QUEUE).redrive()).toBe(2)
    expect(await Promise.all(failed.map((job) => job.state()))).toEqual(["waiting", "failed", "failed", "failed"])
    expect(await other.state()).toBe("waiting")
    expect(await tusk.queue(QUEUE).redrive()).toBe(0)
    expect((await failed[2]!.explain()).reasons[1]!.message).toContain(failed[0]!.id)
    expect(await owner()).toBe(failed[0]!.id)
  })

  test("goes on behind those that stay", async () => {
    await clear()
    const tusk = on.open()
    const live = await keyed.with({ delay: "1h" }).enqueue()
    // More than a batch.
    await on.db.query(`insert into tusk.finished_jobs (id, created_at, finished_at, attempt, max_attempts, crashes, drop_on, state, priority, queue, task, args, dedup_key)
      select gen_random_uuid(), now(), now() - interval '1 hour' + n * interval '1 microsecond', 1, 1, 0, current_date + 1, 'failed', 5, '${QUEUE}', 'kept.plain', '[]',
        case when n <= 1005 then 'k' end from generate_series(1, 1015) n`)
    expect(await tusk.queue(QUEUE).redrive()).toBe(10)
    expect(await owner()).toBe(live.id)
    expect(await tusk.queue(QUEUE).redrive({ limit: 5 })).toBe(0)
  })
})

describe("at the same moment", () => {
  test("retries of several, enqueues of their key and removals: the key has one live owner, whoever wins, and nothing deadlocks", async () => {
    await clear()
    const tusk = on.open()
    const deadlocks = async (): Promise<number> =>
      Number((await on.db.query("select deadlocks from pg_stat_database where datname = current_database()"))[0].deadlocks)
    const before = await deadlocks()
    for (let round = 0; round < 8; round++) {
      const keys = ["x", "y", "z"]
      const failed: Job[] = []
      for (const key of [...keys, ...keys]) {
        const job = await plain.with({ delay: "1h", deduplicate: key, id: `${key}-${round}-${failed.length}` }).enqueue()
        await job.cancel()
        failed.push(job)
      }
      await Promise.all([
        ...failed.map((job) => job.retry()),
        ...failed.map((job) => job.retry()),
        ...keys.map((key) => plain.with({ delay: "1h", deduplicate: key }).enqueue()),
        tusk.queue(QUEUE).redrive(),
        plain.with({ via: tusk, delay: "1h", deduplicate: { key: "y", replace: true } }).enqueue(),
        failed[round % 6]!.remove(),
        failed[(round + 1) % 6]!.cancel(),
      ])
      // No key without its live job, no live job without its key.
      const owners = await on.db.query(
        `select j.id, j.dedup_key as key, k.job_id as owner from tusk.jobs j
         full join (select * from tusk.keys where kind = 'key') k on k.key = j.dedup_key where j.queue = $1 or j.id is null`,
        [QUEUE],
      )
      for (const row of owners) expect(row.id, JSON.stringify({ round, owners })).toBe(row.owner)
      expect(new Set(owners.map(({ key }) => key)).size).toBe(owners.length)
      expect(
        await on.db.query(
          "select from tusk.keys k where kind = 'id' and not exists (select from tusk.finished_jobs where id = job_id) and not exists (select from tusk.jobs where id = job_id)",
        ),
      ).toEqual([])
      await clear()
    }
    expect(await deadlocks()).toBe(before)
  }, 60_000)

  test("an enqueue in a transaction that is open yet holds the retry up, and decides it by its end", async () => {
    await clear()
    const tusk = on.open()
    const first = await ended(() => keyed.enqueue())
    for (const commits of [false, true]) {
      let retried: Promise<boolean> | undefined
      const done = tusk.transaction(async (tx) => {
        await keyed.with({ tx, delay: "1h" }).enqueue()
        retried = first.retry()
        await waitFor(
          async () => (await on.db.query("select from pg_stat_activity where wait_event_type = 'Lock' and query like '%retry_jobs%'")).length > 0,
          {
            what: "the retry to wait",
          },
        )
        if (!commits) throw new Error("rolled back")
      })
      await done.catch((error: Error) => expect(error.message).toBe("rolled back"))
      expect(await retried).toBe(!commits)
      if (!commits) await first.cancel()
    }
  })
})
