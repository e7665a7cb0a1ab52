/** Which limits over all workers hold up a waiting job. */

import type { Explanation } from "../api/job.js"
import { wallClock } from "../lib/timers.js"
import type { Runner } from "../postgres/run/pool.js"
import type { Statements } from "../postgres/statements/statements.js"
import type { SnapshotRow } from "./snapshot.js"

interface StoredRate {
  readonly limit: number
  readonly perMs: number
}

interface LimitsRow {
  readonly concurrency_key: string | null
  readonly rate_key: string | null
  readonly concurrency: number | null
  readonly running: number
  readonly rate: StoredRate | null
  readonly rate_room: number | null
  readonly rate_wait: number | null
  readonly queue_concurrency: number | null
  readonly queue_running: number
  readonly queue_rate: StoredRate | null
  readonly queue_room: number | null
  readonly queue_wait: number | null
}

type Reason = Explanation["reasons"][number]

export async function limitReasons(job: SnapshotRow, runner: Runner, statements: Statements): Promise<Reason[]> {
  const [row] = await runner.run<LimitsRow>({ ...statements.explain_limits, values: [job.id] })
  if (row === undefined) return []
  const task = (key: string | null): string => `its task "${job.task}"${key === "" || key === null ? "" : ` under its key ${JSON.stringify(key)}`}`
  const queue = `its queue "${job.queue}"`
  return [
    ...fullReason(row.concurrency, row.running, task(row.concurrency_key)),
    ...fullReason(row.queue_concurrency, row.queue_running, queue),
    ...rateReason(row.rate, row.rate_room, row.rate_wait, task(row.rate_key)),
    ...rateReason(row.queue_rate, row.queue_room, row.queue_wait, queue),
  ]
}

function fullReason(limit: number | null, running: number, of: string): Reason[] {
  if (limit === null || running < limit) return []
  if (limit === 0) return [{ code: "concurrency", message: `The limit of ${of} is 0: none starts until it is raised` }]
  return [{ code: "concurrency", message: `It waits for a job of ${of} to end: ${running} run, and the limit is ${limit}` }]
}

function rateReason(rate: StoredRate | null, room: number | null, waitMs: number | null, of: string): Reason[] {
  if (rate === null || room === null || room > 0) return []
  const limit = `${rate.limit} starts in ${rate.perMs / 1_000} s`
  if (waitMs === null) return [{ code: "rate-limit", message: `The rate limit of ${of} is ${limit}: it never starts` }]
  const until = new Date(wallClock() + waitMs)
  return [{ code: "rate-limit", message: `The rate limit of ${of} is used up (${limit}); the next may start at ${until.toISOString()}`, until }]
}
