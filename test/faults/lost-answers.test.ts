/**
 * Once, a statement of a worker's takes effect and its answer is lost: the connection is cut, or stays open in silence for ever (a host that vanished,
 * a firewall that forgot). Everything goes on within a few seconds, nothing is lost, and what is to happen once does.
 */
import { describe, type ExpectStatic, test } from "vitest"
import { currentJob, type Job, Tusk, task } from "../../src/index.js"
import { createDatabase, type TestDatabase } from "../support/database.js"
import { type FaultProxy, startProxy } from "../support/proxy.js"
import { waitFor, within } from "../support/wait.js"
import { reaches } from "../worker/ground.js"
import { WORKER_STATEMENTS } from "./unanswered/statements.js"

/** Wakes of lost connections are all that they would say. */
const logger = { debug() {}, info() {}, warn() {}, error() {} }

const SLOT_MS = 500
/** A short lease gives a statement five seconds; without that it would be thirty. */
const LIMIT_MS = 25_000

interface Load {
  /** A round of everything that workers do; resolves when all of it has ended. */
  round(label: string): Promise<void>
  /** The schedule goes on, and has left out no slot. */
  fires(): Promise<void>
}

let loads = 0

async function startLoad(expect: ExpectStatic, db: TestDatabase, via: Tusk, behind: Tusk): Promise<Load> {
  const queue = `q${++loads}`
  await db.query("create table effects (label text)")
  const plain = task({ name: `${queue}.plain`, queue }, () => undefined)
  const limited = task({ name: `${queue}.limited`, queue, concurrency: { limit: 1 } }, () => undefined)
  const booked = task({ name: `${queue}.booked`, queue, transactional: true }, async (label: string) => {
    await currentJob().tx.query("insert into effects (label) values ($1)", [label])
  })
  const hang = task({ name: `${queue}.hang`, queue }, () => {
    const { signal } = currentJob()
    return new Promise<void>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)))
  })
  const slots: number[] = []
  const slot = task({ name: `${queue}.slot`, queue }, () => void slots.push(currentJob().scheduledFor!.getTime()))
  await behind.work({ queues: [queue], lease: 3, poll: "200ms", drainTimeout: "10ms" })
  await slot.with({ via }).schedule("every", { every: `${SLOT_MS}ms`, missed: "all" })

  return {
    async round(label) {
      const completed: Job<unknown>[] = [
        await plain.with({ via }).enqueue(),
        await plain.with({ via, delay: "20ms" }).enqueue(),
        await limited.with({ via }).enqueue(),
        await booked.with({ via }).enqueue(label),
      ]
      const expired = await via.enqueue("known to nobody", [], { queue, ttl: "20ms" })
      const cancelled = await hang.with({ via }).enqueue()
      await reaches(cancelled, "active", LIMIT_MS)
      await cancelled.cancel()
      for (const job of completed) await reaches(job, "completed", LIMIT_MS)
      await reaches(expired, "expired", LIMIT_MS)
      await reaches(cancelled, "cancelled", LIMIT_MS)
      expect(await db.query("select label from effects where label = $1", [label])).toHaveLength(1)
    },
    async fires() {
      const seen = slots.length
      await waitFor(() => slots.length > seen, { what: "the schedule to fire", timeout: LIMIT_MS })
      const rows = await db.query<{ at: Date }>(
        `select scheduled_for as at from (select scheduled_for from tusk.jobs union all select scheduled_for from tusk.finished_jobs) j
         where scheduled_for is not null order by 1`,
      )
      const gaps = rows.slice(1).map((row, i) => row.at.getTime() - rows[i]!.at.getTime())
      expect(gaps.filter((gap) => gap !== SLOT_MS)).toEqual([])
    },
  }
}

async function scenario(expect: ExpectStatic, statement: string, keepOpen: boolean): Promise<void> {
  const db = await createDatabase()
  const proxy: FaultProxy = await startProxy(db.url)
  const via = new Tusk({ connectionString: db.url, logger, signals: false })
  const behind = new Tusk({ connectionString: proxy.url, logger, signals: false })
  try {
    const { round, fires } = await startLoad(expect, db, via, behind)
    await Promise.all([round("before"), fires()])
    const lost = proxy.loseReplies(statement, { keepOpen })
    await Promise.all([round("meanwhile"), fires(), within(lost, LIMIT_MS, "an answer to be lost")])
    await Promise.all([round("afterwards"), fires()])
  } finally {
    // First, so that nobody waits for a connection in silence.
    await proxy.close()
    await Promise.all([via.close(), behind.close()])
    await db.close()
  }
}

describe.concurrent("the connection is cut", () => {
  test.for(Object.keys(WORKER_STATEMENTS))("after a %s", { timeout: 150_000 }, (name, { expect }) =>
    scenario(expect, WORKER_STATEMENTS[name]!, false),
  )
})

describe.concurrent("the connection stays open in silence", () => {
  // The others go the same ways, and each of these takes seconds.
  const some = [
    "claim",
    "limited claim",
    "settle",
    "completion in the job's transaction",
    "heartbeat",
    "promotion",
    "look at due schedules",
    "commit",
  ]
  test.for(some)("after a %s", { timeout: 150_000 }, (name, { expect }) => scenario(expect, WORKER_STATEMENTS[name]!, true))
})
