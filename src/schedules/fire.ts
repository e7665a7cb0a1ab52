/**
 * Fires due schedules. Any worker may do it, several at once: the schedule's row lock lets one through, and it makes the slot's job and moves the
 * schedule on in one transaction. So a slot fires exactly once, however many workers there are and whenever one dies.
 *
 * What "now" is, the database says. A slot is missed when nobody fired it within a minute or half its interval, whichever is less.
 *
 * A schedule that cannot be fired holds up no other: one whose job cannot be stored loses this slot, and one that met a passing fault (a deadlock, a
 * full disk) stays due.
 */
import type { Logger } from "../api/logger.js"
import { uuidv7 } from "../lib/uuid.js"
import { type LaneHint, lanesOf } from "../postgres/notify/wake.js"
import { isConnectionLoss, isTransient } from "../postgres/run/failure.js"
import { END_WHEN_SILENT, type Runner } from "../postgres/run/pool.js"
import { render, type SchemaNames } from "../postgres/statements/names.js"
import type { StoredWhen } from "./slots.js"
import { Slots } from "./slots.js"

interface DueRow {
  readonly id: string
  readonly next_run_at: Date
  readonly now: Date
  readonly runs: string
  readonly spec: StoredWhen
  readonly draft: Record<string, unknown>
  readonly busy: boolean
}

export interface Fired {
  /** Schedules seen; as many as asked for means that there may be more. */
  readonly schedules: number
  readonly lanes: readonly LaneHint[]
  readonly dueMs: number | null
  /** A passing fault of one that is still due. */
  readonly failure: unknown
}

const MAX_MISSED = 1_000
const MINUTE_MS = 60_000

/** Fires at most `most` schedules. */
export async function fireDue(runner: Runner, names: SchemaNames, logger: Logger, most: number): Promise<Fired> {
  const texts = {
    due: render(
      `select ${END_WHEN_SILENT}, s.id, s.next_run_at, clock_timestamp() as now, s.runs, s.spec, s.draft,
         s.last_job_id is not null and exists (select from {schema}.jobs j where j.id = s.last_job_id) as busy
       from {schema}.schedules s where not s.paused and s.next_run_at is not null and s.next_run_at <= now() order by s.next_run_at limit $1 for update of s skip locked`,
      names,
    ),
    add: render("select ord, id, created, queue, state, priority, seq from {schema}.add_jobs($1::text::jsonb, null, false)", names),
    advance: render(
      "update {schema}.schedules set next_run_at = $2, last_run_at = coalesce($3, last_run_at), last_job_id = coalesce($4, last_job_id), runs = runs + $5 where id = $1",
      names,
    ),
  }
  return runner.shortTransaction(async (client) => {
    const { rows } = await client.query<DueRow>(texts.due, [most])
    const added: unknown[] = []
    let delayed = false
    let failure: unknown
    for (const row of rows) {
      await client.query("savepoint one_schedule")
      try {
        const { slots, next } = slotsToFire(row)
        const drafts = slots.map((slot) => ({ ...row.draft, id: uuidv7(), scheduledFor: slot.toISOString() }))
        let last: string | null = null
        if (drafts.length > 0) {
          const result = await client.query(texts.add, [JSON.stringify(drafts)])
          for (const job of result.rows) {
            // Its key may have an owner already; then that is the job of this slot.
            if (job.ord !== null) last = job.id
            if (job.state === "waiting") added.push([job.queue, job.priority, job.seq])
            else delayed = true
          }
        }
        await client.query(texts.advance, [row.id, next, slots.at(-1) ?? null, last, slots.length])
      } catch (error) {
        if (isConnectionLoss(error)) throw error
        await client.query("rollback to savepoint one_schedule")
        if (isTransient(error)) failure ??= error
        else {
          logger.error("a schedule could not be fired; its next slot is tried", { schedule: row.id, error: error as Error })
          await client.query(texts.advance, [row.id, nextAfterFault(row), null, null, 0])
        }
      }
      await client.query("release savepoint one_schedule")
    }
    return { schedules: rows.length, lanes: lanesOf(added), dueMs: delayed ? 0 : null, failure }
  })
}

function nextAfterFault({ spec, now }: DueRow): Date | null {
  try {
    return new Slots(spec).next(now)
  } catch {
    // This worker cannot read it (its zone is unknown here, say); another may.
    return new Date(now.getTime() + MINUTE_MS)
  }
}

/** Which slots of a due schedule get a job now, and when it is due next. */
export function slotsToFire(row: Pick<DueRow, "next_run_at" | "now" | "runs" | "spec" | "busy">): { slots: Date[]; next: Date | null } {
  const { spec, now, next_run_at: first } = row
  const slots = new Slots(spec)
  const second = slots.next(first)
  const interval = second === null ? Number.POSITIVE_INFINITY : second.getTime() - first.getTime()
  // Slots up to here are missed.
  const past = new Date(now.getTime() - Math.min(MINUTE_MS, interval / 2) - 1)
  const makeUp = { skip: 0, once: 1, all: MAX_MISSED }[spec.missed]
  const missed = first > past || makeUp === 0 ? [] : [first, ...slots.between(first, past, makeUp)].slice(-makeUp)
  const onTime = first > past ? [first, ...slots.between(first, now, MAX_MISSED)] : slots.between(past, now, MAX_MISSED)
  let fire = [...missed, ...onTime].slice(-MAX_MISSED)
  if (spec.overlap === "skip") fire = row.busy ? [] : fire.slice(-1)
  const left = spec.limit === undefined ? Number.POSITIVE_INFINITY : spec.limit - Number(row.runs)
  if (fire.length > left) fire = fire.slice(0, left)
  return { slots: fire, next: fire.length >= left ? null : slots.next(now) }
}
