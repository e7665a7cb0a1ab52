/** What workers, waiters and listeners write beside the work on jobs itself (which test/faults/lost-answers.test.ts goes through under a load). */
import { currentJob, type Tusk, task } from "../../../src/index.js"
import type { TestDatabase } from "../../support/database.js"
import { waitFor } from "../../support/wait.js"
import { one, plain, QUEUE, running, WORKER } from "./calls.js"

export interface Deed {
  readonly name: string
  readonly loses: string
  readonly shows: readonly string[]
  /** What must be there first. */
  readonly prepare?: (near: Tusk, db: TestDatabase) => Promise<unknown>
  /** Beside a worker of `tusk`'s: resolves when the deed is done, with what is to be the same each time. */
  readonly until: (tusk: Tusk, near: Tusk, db: TestDatabase, lost: Promise<void>) => Promise<unknown>
}

const reporting = task({ name: "reporting", queue: QUEUE, progress: true }, async (report) => {
  report(0.5, { half: true })
  await new Promise((resolve) => currentJob().signal.addEventListener("abort", resolve))
})
const count = async (db: TestDatabase, from: string): Promise<number> => (await db.query(`select count(*)::int as n from tusk.${from}`))[0].n
const none = (db: TestDatabase, from: string, timeout = 20_000): Promise<boolean> =>
  waitFor(async () => (await count(db, from)) === 0, { what: `no ${from}`, timeout })

export const DEEDS: readonly Deed[] = [
  {
    name: "rescue",
    loses: "pgtusk_rescue_",
    shows: ["sql rescue"],
    prepare: async (near, db) => {
      await running(near, db)
      await db.query("update tusk.workers set lease = '1 s', heartbeat_at = now() - interval '1 hour'")
    },
    until: (_tusk, _near, db) => none(db, "jobs"),
  },
  {
    name: "prune",
    loses: "with stale_keys as",
    shows: ["sql prune"],
    prepare: (_near, db) =>
      db.query("insert into tusk.keys (job_id, until, queue, kind, key, release) values ($1, now(), 'q', 'key', 'k', 'time')", [WORKER]),
    until: (_tusk, _near, db) => none(db, "keys"),
  },
  {
    name: "end of children whose parents are gone",
    loses: "pgtusk_abandon_",
    shows: ["sql abandon"],
    prepare: async (near, db) => {
      const parent = await one(near, { delay: "1h" })
      await plain.with({ via: near, dependsOn: [{ job: parent, onFailure: "cancel" }] }).enqueue(2)
      await db.query("delete from tusk.jobs where id = $1", [parent.id])
    },
    until: (_tusk, _near, db) => none(db, "jobs"),
  },
  {
    name: "progress",
    loses: "pgtusk_progress_",
    shows: ["sql progress"],
    until: async (_tusk, near, db, lost) => {
      const job = await reporting.with({ via: near }).enqueue()
      await waitFor(async () => (await count(db, "jobs where progress is not null")) === 1, { what: "progress to be stored" })
      await lost
      const { progress } = await job.snapshot()
      await job.cancel()
      await none(db, "jobs")
      return progress
    },
  },
  {
    name: "wait for a result",
    loses: "pgtusk_watch_",
    shows: ["sql watch"],
    until: async (tusk, near, db, lost) => {
      const job = await one(near, { delay: "1h" })
      const result = tusk.job(job.id).result({ timeout: 20 })
      await Promise.all([lost, waitFor(async () => (await count(db, "jobs where watched")) === 1, { what: "the job to be marked" })])
      await job.promote()
      return result
    },
  },
]
