/** Why is a job not running? Every reason that holds now, the decisive one first. */

import type { Explanation } from "../api/job.js"
import type { Runner } from "../postgres/run/pool.js"
import type { Statements } from "../postgres/statements/statements.js"
import { limitReasons } from "./explain-limits.js"
import type { SnapshotRow } from "./snapshot.js"

interface Surroundings {
  readonly paused: boolean
  readonly serving: number
  readonly knowing: number
  readonly ahead: number
}

/** Another job owns a key of a job that has ended. */
interface TakenKey {
  readonly kind: "id" | "key"
  readonly key: string
  readonly owner: string
}

type Reason = Explanation["reasons"][number]

export async function explain(row: SnapshotRow, runner: Runner, statements: Statements): Promise<Explanation> {
  const state = row.state
  if (state === "active")
    return { state, reasons: [{ code: "active", message: `It runs, on worker ${row.worker_id}, in attempt ${row.attempt} of ${row.max_attempts}` }] }
  if (row.finished_at !== null) {
    const why = row.error === null ? "" : `: ${row.error.message}`
    const ended: Reason = { code: "finished", message: `It has ended, ${state}, at ${row.finished_at.toISOString()}${why}` }
    const [taken] = state === "completed" ? [] : await runner.run<TakenKey>({ ...statements.explain_key, values: [row.id] })
    return { state, reasons: taken === undefined ? [ended] : [ended, takenReason(taken)] }
  }
  const [around] = await runner.run<Surroundings>({ ...statements.explain, values: [row.id, row.queue, row.task, row.priority] })
  const limits = state === "waiting" ? await limitReasons(row, runner, statements) : []
  return { state, reasons: reasonsOf(row, around!, limits) }
}

function takenReason({ kind, key, owner }: TakenKey): Reason {
  return {
    code: "key-taken",
    message: `A retry leaves it as it is: job ${owner} owns its ${kind === "id" ? "custom id" : "deduplication key"} ${JSON.stringify(key)} now`,
  }
}

function reasonsOf(row: SnapshotRow, { paused, serving, knowing, ahead }: Surroundings, limits: readonly Reason[]): Reason[] {
  const reasons: Reason[] = []
  if (row.state === "blocked") {
    const parents = row.waiting_for ?? []
    reasons.push({
      code: "blocked",
      message: `It waits for ${parents.length === 1 ? "its parent" : `${parents.length} parents`}: ${parents.slice(0, 10).join(", ")}`,
    })
  }
  if (row.state === "delayed" && row.run_at !== null) {
    const retry = row.attempt > 0 ? " for its next attempt" : ""
    reasons.push({ code: "delayed", message: `It is due${retry} at ${row.run_at.toISOString()}`, until: row.run_at })
  }
  if (paused)
    reasons.push({ code: "paused", message: `Its queue "${row.queue}" is paused; tusk.queue(${JSON.stringify(row.queue)}).resume() lets it go on` })
  if (serving === 0) reasons.push({ code: "no-worker", message: `No live worker serves its queue "${row.queue}"` })
  else if (knowing === 0) {
    const workers = serving === 1 ? "the one live worker" : `none of the ${serving} live workers`
    reasons.push({
      code: "unknown-task",
      message: `${serving === 1 ? `${workers} of its queue "${row.queue}" does not know` : `${workers} of its queue "${row.queue}" knows`} its task "${row.task}"; import the module that defines it there`,
    })
  }
  reasons.push(...limits)
  if (row.state === "waiting" && reasons.length === 0) {
    const before = ahead >= 10_000 ? "at least 10,000 jobs are" : ahead === 1 ? "1 job is" : `${ahead} jobs are`
    reasons.push({
      code: "busy",
      message: `It waits for its turn: ${before} before it in queue "${row.queue}", and the slots of ${knowing === 1 ? "its worker" : `${knowing} workers`} are taken`,
    })
  }
  return reasons
}
