import { expect, test } from "vitest"
import { type TaskOptions, task } from "../../src/index.js"
import { waitFor } from "../support/wait.js"
import { ground } from "./ground.js"

const g = ground()

/** Ends one job of a task with this retention and gives the partition and the days for which it stays. */
async function kept(keep: TaskOptions["keep"], fails = false): Promise<{ partition: string; days: number; keep_until: string | null } | undefined> {
  const queue = g.name("q")
  const run = task({ name: g.name("t"), queue, ...(keep === undefined ? {} : { keep }) }, () => {
    if (fails) throw new Error("x")
  })
  const tusk = g.open()
  const worker = await tusk.work({ queues: [queue] })
  const job = await run.enqueue()
  await waitFor(async () => (await g.db.query("select 1 from tusk.jobs where id = $1", [job.id])).length === 0)
  await worker.stop()
  const [row] = await g.db.query(
    `select tableoid::regclass::text as partition, case when drop_on < 'infinity' then drop_on - (now() at time zone 'UTC')::date end as days,
       round(extract(epoch from keep_until - finished_at) / 86400)::text as keep_until
     from tusk.finished_jobs where id = $1`,
    [job.id],
  )
  return row
}

test("keep: false deletes the row with the end; the other ends of the job are kept", async () => {
  expect(await kept({ completed: false })).toBeUndefined()
  expect(await kept({ failed: false }, true)).toBeUndefined()
  expect(await kept({ completed: false }, true)).toMatchObject({ days: 14 })
})

test("a finished job lies in the partition of the day on which it may go, or in the long one", async () => {
  const stock = await kept(undefined)
  expect(stock).toMatchObject({ days: 1, keep_until: null })
  expect(stock!.partition).toMatch(/finished_jobs_\d{8}/)
  expect(await kept(undefined, true)).toMatchObject({ days: 14, keep_until: null })
  expect(await kept({ completed: "3d" })).toMatchObject({ days: 3, keep_until: null })
  expect(await kept({ completed: "60d" })).toMatchObject({ partition: expect.stringContaining("finished_jobs_long"), keep_until: "60" })
})

test("partitions() makes the coming days once, and drops the past ones with all that is in them", async () => {
  const days = async (): Promise<string[]> =>
    (
      await g.db.query(
        "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = 'tusk.finished_jobs'::regclass and c.relname ~ '\\d{8}$' order by 1",
      )
    ).map((row) => row.relname)
  const before = await days()
  expect(before).toHaveLength(18)
  await g.db.query("create table tusk.finished_jobs_20200101 partition of tusk.finished_jobs for values from ('2020-01-01') to ('2020-01-02')")
  await g.db.query(
    `insert into tusk.finished_jobs (id, created_at, attempt, max_attempts, crashes, drop_on, state, priority, queue, task, args)
     values ('00000000-0000-7000-8000-000000000001', now(), 1, 1, 0, '2020-01-01', 'completed', 5, 'q', 't', '[]')`,
  )
  // The last day of the horizon is missing, as it is at the first run after midnight.
  await g.db.query(`drop table tusk.${before.at(-1)}`)
  expect(await g.db.query("select tusk.partitions() as dropped")).toEqual([{ dropped: ["finished_jobs_20200101"] }])
  expect(await days()).toEqual(before)
  expect(await g.db.query("select 1 from tusk.finished_jobs where drop_on = '2020-01-01'")).toEqual([])
  expect(await g.db.query("select tusk.partitions() as dropped")).toEqual([{ dropped: [] }])
  // Many at once.
  await Promise.all(Array.from({ length: 4 }, () => g.db.query("select tusk.partitions()")))
  expect(await days()).toEqual(before)
})

test("a past day that somebody reads is left for the next run, and holds nobody up", async () => {
  await g.db.query("create table tusk.finished_jobs_20200102 partition of tusk.finished_jobs for values from ('2020-01-02') to ('2020-01-03')")
  const { default: pg } = await import("pg")
  const reader = new pg.Client({ connectionString: g.db.url })
  await reader.connect()
  try {
    await reader.query("begin")
    await reader.query("select * from tusk.finished_jobs_20200102")
    expect(await g.db.query("select tusk.partitions() as dropped")).toEqual([{ dropped: [] }])
    await reader.query("rollback")
    expect(await g.db.query("select tusk.partitions() as dropped")).toEqual([{ dropped: ["finished_jobs_20200102"] }])
  } finally {
    await reader.end()
  }
})

test("prune forgets what has outlived its time: long-kept rows and keys; a custom id is free once its row may go", async () => {
  const queue = g.name("q")
  const run = task({ name: g.name("t"), queue, keep: { completed: "60d" } }, () => "ran")
  const tusk = g.open()
  const worker = await tusk.work({ queues: [queue] })
  const job = await run.with({ id: "order-1" }).enqueue()
  await job.result({ timeout: 10 })
  // Held by the finished job.
  expect(await run.with({ id: "order-1" }).enqueue()).toMatchObject({ id: job.id, created: false })
  await worker.stop()
  await g.db.query("update tusk.finished_jobs set keep_until = now() - interval '1 second' where id = $1", [job.id])
  await g.db.query("update tusk.keys set until = now() - interval '1 second' where job_id = $1", [job.id])
  await g.work({ queues: [g.name("other")] })
  await waitFor(
    async () =>
      (await g.db.query("select 1 from tusk.finished_jobs where id = $1 union all select 1 from tusk.keys where job_id = $1", [job.id])).length === 0,
  )
  expect(await run.with({ id: "order-1" }).enqueue()).toMatchObject({ created: true })
})
