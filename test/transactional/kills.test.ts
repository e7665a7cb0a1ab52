/** kill -9 of a worker at every step of a transactional job: its effects, its follow-up job and its completion exist together, once. */
import { beforeAll, describe, expect, test } from "vitest"
import { connect } from "../jobs/setup.js"
import { type Script, spawnScript } from "../support/process.js"
import { waitFor } from "../support/wait.js"
import { ground } from "../worker/ground.js"
import "./fixtures/tasks.js"

const on = ground()
const SLOW = { timeout: 60_000 }
const GATE = 4711

beforeAll(async () => {
  await on.db.query("create table effects (label text)")
  // Where a trigger waits for this lock, the test has the worker in its hand.
  await on.db.query(`create function gate() returns trigger language plpgsql as $$ begin perform pg_advisory_xact_lock(${GATE}); return null; end $$`)
})

function worker(): Script {
  return spawnScript(new URL("fixtures/worker.ts", import.meta.url), [], { URL: on.db.url })
}

/** A worker that lives on does the rest; then there is all of it, once. */
async function exactlyOnce(label: string, attempts: number): Promise<void> {
  await on.work({ queues: ["kill"], lease: 1 })
  await waitFor(async () => (await on.counts("kill")).completed === 2, { ...SLOW, what: "the job and its follow-up to complete" })
  expect(await on.counts("kill")).toEqual({ completed: 2 })
  expect(await on.db.query("select label from effects")).toEqual([{ label }])
  const [book] = await on.db.query("select attempt, result from tusk.finished_jobs where task = 'kill.book'")
  expect(book).toEqual({ attempt: attempts, result: label })
  await on.db.query("delete from effects")
  await on.db.query("delete from tusk.finished_jobs")
}

describe("killed", () => {
  test.each(["before the writes", "after the writes", "before the completion"])(
    "%s: nothing of that run remains, the next one does it",
    { timeout: 150_000 },
    async (where) => {
      const tusk = on.open()
      await tusk.enqueue("kill.book", [where, where], { queue: "kill" })
      const first = worker()
      await first.line(`began ${where}`, 60_000)
      expect(await first.exit).toMatchObject({ signal: "SIGKILL" })
      expect(await on.db.query("select 1 from effects")).toEqual([])
      expect((await on.counts("kill")).waiting ?? 0).toBeLessThanOrEqual(1)
      worker()
      await exactlyOnce(where, 2)
    },
  )

  test("while the completion is recorded: it is rolled back with the effects", { timeout: 150_000 }, async () => {
    const tusk = on.open()
    const holder = await connect(on.db.url)
    await holder.query(`select pg_advisory_lock(${GATE})`)
    await on.db.query("create trigger gate after insert on tusk.finished_jobs for each row when (new.task = 'kill.book') execute function gate()")
    await tusk.enqueue("kill.book", ["settling", ""], { queue: "kill" })
    await killAtGate()
    await holder.query(`select pg_advisory_unlock(${GATE})`)
    await waitFor(async () => (await transactions()) === 0, SLOW)
    expect(await on.db.query("select 1 from effects")).toEqual([])
    await on.db.query("drop trigger gate on tusk.finished_jobs")
    await exactlyOnce("settling", 2)
  })

  test("while it commits: it counts, and nothing runs twice", { timeout: 150_000 }, async () => {
    const tusk = on.open()
    const holder = await connect(on.db.url)
    await holder.query(`select pg_advisory_lock(${GATE})`)
    // A deferred trigger runs inside of the commit.
    await on.db.query("create constraint trigger gate after insert on effects deferrable initially deferred for each row execute function gate()")
    await tusk.enqueue("kill.book", ["committing", ""], { queue: "kill" })
    await killAtGate()
    await holder.query(`select pg_advisory_unlock(${GATE})`)
    await waitFor(async () => (await on.db.query("select 1 from effects")).length === 1, SLOW)
    await on.db.query("drop trigger gate on effects")
    await exactlyOnce("committing", 1)
  })

  async function killAtGate(): Promise<void> {
    const first = worker()
    await waitFor(
      async () => (await on.db.query(`select 1 from pg_locks where locktype = 'advisory' and objid = ${GATE} and not granted`)).length === 1,
      {
        ...SLOW,
        what: "the worker to be at the gate",
      },
    )
    first.kill("SIGKILL")
    await first.exit
  }

  async function transactions(): Promise<number> {
    const rows = await on.db.query(
      "select 1 from pg_stat_activity where datname = current_database() and application_name = 'pgtusk transactions' and xact_start is not null",
    )
    return rows.length
  }
})
