/**
 * Fires due schedules. Any worker may do it, several at once: the schedule's row lock lets one through, and it makes the slot's job and moves the
 * schedule on in one transaction. So a slot fires exactly once, however many workers there are and whenever one dies.
 *
 * What "now" is, the database says. A slot is missed when nobody fired it within a minute or half its interval, whichever is less.
 */
import type { Logger } from "../logger.js"
import { render, type SchemaNames } from "../postgres/names.js"
import type { Runner } from "../postgres/pool.js"
import { type LaneHint, lanesOf } from "../postgres/wake.js"
import { Slots, type StoredWhen } from "./slots.js"
import { uuidv7 } from "./uuid.js"

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
}

const MAX_MISSED = 1_000
const MINUTE_MS = 60_000

/** Fires at most `most` schedules. */
export async function fireDue(runner: Runner, names: SchemaNames, logger: Logger, most: number): Promise<Fired> {
  const texts = {
    due: render(
      `select s.id, s.next_run_at, clock_timestamp() as now, s.runs, s.spec, s.draft,
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
  return runner.transaction(async (client) => {
    const { rows } = await client.query<DueRow>(texts.due, [most])
    const added: unknown[] = []
    let delayed = false
    for (const row of rows) {
      // A schedule that cannot be fired must not hold up the others.
      await client.query("savepoint one_schedule")
      try {
        const { slots, next } = slotsToFire(row)
        const drafts = slots.map((slot) => ({ ...row.draft, id: uuidv7(), scheduledFor: slot.toISOString() }))
        if (drafts.length > 0) {
          const result = await client.query(texts.add, [JSON.stringify(drafts)])
          for (const job of result.rows) {
            if (job.state === "waiting") added.push([job.queue, job.priority, job.seq])
            else delayed = true
          }
        }
        await client.query(texts.advance, [row.id, next, slots.at(-1) ?? null, drafts.at(-1)?.id ?? null, slots.length])
      } catch (error) {
        await client.query("rollback to savepoint one_schedule")
        logger.error("a schedule could not be fired; its next slot is tried", { schedule: row.id, error: error as Error })
        const next = new Slots(row.spec).next(row.now)
        await client.query(texts.advance, [row.id, next, null, null, 0])
      }
    }
    return { schedules: rows.length, lanes: lanesOf(added), dueMs: delayed ? 0 : null }
  })
}

/** Which slots of a due schedule get a job now, and when it is due next. */
export function slotsToFire(row: Pick<DueRow, "next_run_at" | "now" | "runs" | "spec" | "busy">): { slots: Date[]; next: Date | null } {
  const { spec, now } = row
  const slots = new Slots(spec)
  const first = row.next_run_at
  const second = slots.next(first)
  const interval = second === null ? Number.POSITIVE_INFINITY : second.getTime() - first.getTime()
  const grace = Math.min(MINUTE_MS, interval / 2)
  const due = [first, ...slots.between(first, now, MAX_MISSED)]
  const missed = due.filter((slot) => now.getTime() - slot.getTime() > grace)
  const onTime = due.slice(missed.length)
  let fire = [...(spec.missed === "all" ? missed : spec.missed === "once" ? missed.slice(-1) : []), ...onTime]
  if (spec.overlap === "skip") fire = row.busy ? [] : fire.slice(-1)
  const left = spec.limit === undefined ? Number.POSITIVE_INFINITY : spec.limit - Number(row.runs)
  if (fire.length > left) fire = fire.slice(0, left)
  const over = left - fire.length <= 0
  return { slots: fire.slice(-MAX_MISSED), next: over ? null : slots.next(now) }
}
