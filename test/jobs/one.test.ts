/** One job that needs nothing but an insert: stored and told of in one statement. */
import { beforeEach, expect, test } from "vitest"
import { task } from "../../src/index.js"
import { schemaNames } from "../../src/postgres/statements/names.js"
import { waitFor } from "../support/wait.js"
import { bench, connect, openTusk, RecordingPool } from "./setup.js"

const on = bench()
const plain = task({ name: "one.plain" }, (n: number) => n)
const CALL = '"tusk".add_job('
const NOTIFY = "pg_notify"

let pool: RecordingPool
let heard: string[]
beforeEach(async () => {
  pool = new RecordingPool({ connectionString: on.db.url })
  const ear = await connect(on.db.url)
  heard = []
  ear.on("notification", ({ payload }) => heard.push(payload ?? ""))
  await ear.query(`listen "${schemaNames("tusk").channel}"`)
})

const stored = (): Promise<{ args: unknown; seq: string }[]> => on.db.query("select args, seq from tusk.jobs order by seq")

async function opened(options: string = ""): Promise<typeof plain> {
  if (options !== "") pool = new RecordingPool({ connectionString: on.db.url, options })
  const tusk = openTusk({ pool })
  // Its schema is known to fit, and no wake-up is younger than it.
  await tusk.workers()
  return plain.with({ via: tusk }) as unknown as typeof plain
}

test("it is stored and told of by one statement, its options with it", async () => {
  const view = (await opened()).with({ priority: 3, queue: 'a "queue"', headers: { trace: "x" }, backoff: 2, retries: 4 })
  const before = pool.statements.length
  const job = await view.enqueue(7)
  expect(pool.statements.slice(before).filter((text) => text.includes(CALL) || text.includes(NOTIFY))).toEqual([expect.stringContaining(CALL)])
  await waitFor(() => heard.length === 1)
  const { seq } = (await stored())[0]!
  expect(JSON.parse(heard[0]!)).toEqual(["j", 'a "queue"', 3, Number(seq), expect.stringMatching(/^@[0-9a-f]{8}$/)])
  expect(await job.snapshot()).toMatchObject({
    args: [7],
    priority: 3,
    queue: 'a "queue"',
    headers: { trace: "x" },
    maxAttempts: 5,
    state: "waiting",
  })
  expect(await on.db.query("select options from tusk.jobs")).toEqual([{ options: { backoff: expect.anything() } }])
})

test("jobs one after the other keep their order, and of each the workers hear, by itself or by a hint that names one before it", async () => {
  const view = await opened()
  for (let n = 0; n < 50; n++) await view.enqueue(n)
  const rows = await stored()
  expect(rows.map((row) => row.args)).toEqual(Array.from({ length: 50 }, (_, n) => [n]))
  expect(pool.count(CALL)).toBeGreaterThan(0)
  await waitFor(() => heard.length === pool.count(CALL) + pool.count(NOTIFY))
  const told = heard.map((text) => Number(JSON.parse(text)[3]))
  // Every statement that notifies tells of what was stored since the one before it.
  const first = Number(rows[0]!.seq)
  expect([Math.min(...told), new Set(told).size]).toEqual([first, told.length])
})

test("nobody is woken where the call says so", async () => {
  const view = (await opened()).with({ wake: "poll" })
  await view.enqueue(1)
  expect(pool.count(CALL) + pool.count(NOTIFY)).toBe(0)
  expect(await stored()).toHaveLength(1)
  expect(heard).toEqual([])
})

test("I1: a wake-up that fails after the commit leaves the job stored once, and the call resolves", async () => {
  const [whole] = await on.db.query<{ text: string }>("select pg_get_functiondef('tusk.wake_lane'::regproc) as text")
  await on.db.query(
    whole!.text.replace(/AS \$function\$.*\$function\$/s, () => "AS $$ begin raise exception 'canceled' using errcode = '57014'; end $$"),
  )
  try {
    const view = await opened()
    const job = await view.enqueue(1)
    expect([pool.count(CALL), pool.count("add_jobs")]).toEqual([1, 1])
    expect(job.created).toBe(true)
    expect((await stored()).map((row) => row.args)).toEqual([[1]])
  } finally {
    await on.db.query(whole!.text)
  }
})

test("I1: so does one whose repeat fails in passing: whoever tries again looks for the job too", async () => {
  const [whole] = await on.db.query<{ text: string }>("select pg_get_functiondef('tusk.flush_log'::regproc) as text")
  await on.db.query("create sequence failures")
  await on.db.query(
    `create or replace function tusk.flush_log() returns void language plpgsql as $$
     begin if nextval('public.failures') <= 2 then raise exception 'canceled' using errcode = '57014'; end if; end $$`,
  )
  try {
    const view = await opened()
    const job = await view.enqueue(1)
    expect([pool.count(CALL), pool.count("add_jobs")]).toEqual([1, 2])
    expect(job.created).toBe(true)
    expect((await stored()).map((row) => row.args)).toEqual([[1]])
  } finally {
    await on.db.query(whole!.text)
  }
})

test("where transactions are stricter by default, in one of its own; it is told of afterwards", async () => {
  const view = await opened("-c default_transaction_isolation=serializable")
  await view.enqueue(1)
  expect(await stored()).toHaveLength(1)
  expect([pool.count(CALL), pool.count("commit")]).toEqual([0, expect.any(Number)])
  await waitFor(() => heard.length === 1)
})

test("whichever way it goes, alone or with others, in a transaction or not, the same row is stored", async () => {
  const tusk = openTusk({ pool })
  const full = { priority: 3, queue: "elsewhere", headers: { trace: "x" }, backoff: 2, retries: 4, timeout: "1m", keep: { completed: "2d" } } as const
  for (const options of [{}, full, { wake: "poll" }] as const) {
    await on.db.query("delete from tusk.jobs")
    const view = plain.with({ via: tusk, ...options })
    await view.enqueue(1)
    await view.enqueueMany([[1], [1]])
    await tusk.transaction(async (tx) => {
      await view.with({ tx }).enqueue(1)
      await view.with({ tx }).enqueueMany([[1], [1]])
    })
    const rows = await on.db.query<{ job: object }>("select to_jsonb(j) - array['id', 'seq', 'created_at'] as job from tusk.jobs j")
    expect(rows).toHaveLength(6)
    expect(rows.map((row) => row.job)).toEqual(Array.from({ length: 6 }, () => rows[0]!.job))
    expect(rows[0]!.job).toMatchObject({ args: [1], task: "one.plain", queue: "queue" in options ? "elsewhere" : "default", state: "waiting" })
  }
})
