/** One change to all jobs that fit a filter, in batches. */

import type { JobState } from "../api/events.js"
import { performance, sleep } from "../lib/timers.js"
import type { Database } from "../postgres/database.js"
import { patiently } from "../postgres/run/retry.js"
import { render } from "../postgres/statements/names.js"
import type { JobAdmin } from "./admin.js"
import type { CheckedFilter } from "./filter.js"
import type { Finish } from "./search.js"

export interface BulkChange {
  readonly source: "jobs" | "finished_jobs"
  readonly filter: CheckedFilter
  /** Returns the ids that it did something to. Twice: the second finds nothing to do. */
  readonly change: (admin: JobAdmin, ids: readonly string[]) => Promise<readonly string[]>
  /** Of jobs r.id that fitted the filter at $2 and later: the change has been made. For when its answer was lost. */
  readonly made: string
  readonly limit?: number | undefined
  /** Of finished jobs, those that ended longer ago. */
  readonly graceMs?: number | undefined
  /** At most so many a second. */
  readonly rate?: number | undefined
}

const BATCH = 1_000

export const cancelling = (admin: JobAdmin, ids: readonly string[]): Promise<readonly string[]> => admin.cancel(ids, undefined)
export const CANCELLED = `(exists (select from {schema}.jobs j where j.id = r.id and j.cancel_requested)
  or exists (select from {schema}.finished_jobs f where f.id = r.id and f.state = 'cancelled'))`

export const retrying = (admin: JobAdmin, ids: readonly string[]): Promise<readonly string[]> => admin.retry(ids)
export const RETRIED = `(exists (select from {schema}.jobs j where j.id = r.id)
  or exists (select from {schema}.finished_jobs f where f.id = r.id and f.finished_at > $2))`

/** With `only`, those that are in one of these states by then. */
export function removing(only?: readonly JobState[]): BulkChange["change"] {
  return (admin, ids) => admin.remove(ids, only)
}
export const REMOVED = `not exists (select from {schema}.jobs j where j.id = r.id) and not exists (select from {schema}.finished_jobs f where f.id = r.id)`

/** Applies the change until nothing that fits the filter is left, or `limit` is reached. Returns the ids that it did something to. */
export async function changeAll(database: Database, admin: JobAdmin, bulk: BulkChange): Promise<string[]> {
  const { source, filter, limit = Number.POSITIVE_INFINITY, graceMs = 0, rate } = bulk
  const { findIds } = await import("./search.js")
  const { runner } = await database.ready()
  // What finishes again while we work (a redriven job that fails anew) is not found again.
  const [clock] = await runner.run<{ at: Date; began: Date }>({
    text: "select now() - $1::double precision * interval '1 millisecond' as at, now() as began",
    values: [graceMs],
  })
  const change = (ids: readonly string[]): Promise<readonly string[]> => {
    const options = { logger: database.logger, what: "a change of jobs", whether: `Whether ${ids.length} jobs were changed` }
    return patiently(options, async (unknown) => {
      const made = unknown
        ? await runner.run<{ id: string }>({
            text: render(`select r.id from unnest((select $1::uuid[])) r (id) where $2::timestamptz is not null and ${bulk.made}`, database.names),
            values: [ids, clock!.began],
          })
        : []
      const before = new Set(made.map((row) => row.id))
      const rest = ids.filter((id) => !before.has(id))
      return rest.length === 0 ? ids : [...before, ...(await bulk.change(admin, rest))]
    })
  }
  const done: string[] = []
  let cursor = filter
  let after: Finish | undefined
  while (done.length < limit) {
    const most = Math.min(BATCH, limit - done.length, rate === undefined ? BATCH : Math.max(1, Math.ceil(rate / 4)))
    const found = await findIds(runner, database.names.schema, source, cursor, most, { before: clock!.at, after })
    const ids = found.map((job) => job.id)
    if (ids.length === 0) break
    const began = performance.now()
    done.push(...(await change(ids)))
    if (rate !== undefined && ids.length === most) await sleep(Math.max(0, (ids.length / rate) * 1_000 - (performance.now() - began)))
    // Jobs that stay (an active one that is told to cancel, one whose key is another's) must not be found again and again.
    if (source === "jobs") cursor = { ...filter, oldestFirst: true, after: ids.at(-1)! }
    else after = found.at(-1)
    if (ids.length < most) break
  }
  return done
}
