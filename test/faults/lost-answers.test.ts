/**
 * Once, a statement of a worker's takes effect and its answer is lost: the connection is cut, or stays open in silence for ever (a host that vanished,
 * a firewall that forgot). Everything goes on within a few seconds, nothing is lost, and what is to happen once does.
 */
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest"
import { currentJob, type Job, task } from "../../src/index.js"
import { type FaultProxy, startProxy } from "../support/proxy.js"
import { waitFor, within } from "../support/wait.js"
import { ground, reaches } from "../worker/ground.js"

const on = ground()
let proxy: FaultProxy

beforeAll(async () => {
  await on.db.query("create table effects (label text)")
})
beforeEach(async () => {
  proxy = await startProxy(on.db.url)
})
// Before the clients' own ends, which need not wait for a connection in silence.
afterEach(() => proxy.close())

/** By what they are recognised on their way. */
const STATEMENTS: Readonly<Record<string, string>> = {
  claim: "pgtusk_claim_",
  "limited claim": "claim_limited",
  settle: "pgtusk_settle_",
  "completion in the job's transaction": "idle_in_transaction_session_timeout', '10s', true) from (",
  heartbeat: "pgtusk_heartbeat_",
  "question what is due": "pgtusk_next_due_",
  promotion: "pgtusk_promote_",
  expiry: "pgtusk_expire_",
  sweep: "pgtusk_sweep_",
  "look at due schedules": "for update of s skip locked",
  "move of a schedule": "set next_run_at = $2, last_run_at",
  commit: "commit",
  notification: "pg_notify($1, m)",
}

/** A lease of one second gives a statement five. */
const LIMIT_MS = 9_000

/** A worker on the way through the proxy, and a round of everything that workers do; each resolves when all of it has ended. */
async function workload(): Promise<{ round(label: string): Promise<void>; fires(): Promise<void> }> {
  const queue = on.name("q")
  const { db } = on
  const via = on.open()
  const plain = task({ name: on.name("plain"), queue }, () => undefined)
  const limited = task({ name: on.name("limited"), queue, concurrency: { limit: 1 } }, () => undefined)
  const booked = task({ name: on.name("booked"), queue, transactional: true }, async (label: string) => {
    await currentJob().tx.query("insert into effects (label) values ($1)", [label])
  })
  const hang = task({ name: on.name("hang"), queue }, () => {
    const { signal } = currentJob()
    return new Promise<void>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)))
  })
  const slots: number[] = []
  const slot = task({ name: on.name("slot"), queue }, () => void slots.push(currentJob().scheduledFor!.getTime()))
  await on.work({ queues: [queue], lease: 1, poll: "200ms", drainTimeout: "10ms" }, { connectionString: proxy.url })
  await slot.with({ via }).schedule(on.name("every"), { every: "500ms", missed: "all" })

  return {
    async round(label) {
      const completed: Job<unknown>[] = [
        await plain.with({ via }).enqueue(),
        await plain.with({ via, delay: "20ms" }).enqueue(),
        await limited.with({ via }).enqueue(),
        await booked.with({ via }).enqueue(`${queue} ${label}`),
      ]
      const expired = await via.enqueue("known to nobody", [], { queue, ttl: "20ms" })
      const cancelled = await hang.with({ via }).enqueue()
      await reaches(cancelled, "active", LIMIT_MS)
      await cancelled.cancel()
      for (const job of completed) await reaches(job, "completed", LIMIT_MS)
      await reaches(expired, "expired", LIMIT_MS)
      await reaches(cancelled, "cancelled", LIMIT_MS)
      expect(await db.query("select label from effects where label = $1", [`${queue} ${label}`])).toHaveLength(1)
    },
    async fires() {
      const seen = slots.length
      await waitFor(() => slots.length > seen, { what: "the schedule to fire", timeout: LIMIT_MS })
      // Each slot once, and none left out.
      const rows = await db.query<{ at: Date }>(
        `select scheduled_for as at from (select queue, scheduled_for from tusk.jobs union all select queue, scheduled_for from tusk.finished_jobs) j
         where queue = $1 and scheduled_for is not null order by 1`,
        [queue],
      )
      const gaps = rows.slice(1).map((row, i) => row.at.getTime() - rows[i]!.at.getTime())
      expect(gaps.filter((gap) => gap !== 500)).toEqual([])
    },
  }
}

describe.each(["the connection is cut", "the connection stays open in silence"])("%s", (how) => {
  test.each(Object.keys(STATEMENTS))("after a %s", { timeout: 60_000 }, async (name) => {
    const { round, fires } = await workload()
    await Promise.all([round("before"), fires()])
    const lost = proxy.loseReplies(STATEMENTS[name]!, { keepOpen: how.includes("silence") })
    await Promise.all([round("meanwhile"), fires(), within(lost, LIMIT_MS, "an answer to be lost")])
    await Promise.all([round("afterwards"), fires()])
  })
})
