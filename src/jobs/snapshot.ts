import type { JobFailure, JobState } from "../api/events.js"
import type { Attempt, JobSnapshot } from "../api/snapshot.js"
import { decode, decodeText } from "../codec/codec.js"

/** A row of sql/snapshots.sql. */
export interface SnapshotRow {
  readonly id: string
  readonly task: string
  readonly queue: string
  readonly state: JobState
  readonly args: string
  readonly priority: number
  readonly attempt: number
  readonly max_attempts: number
  readonly attempts: readonly StoredAttempt[] | null
  readonly progress: { fraction: number; data?: unknown } | null
  readonly created_at: Date
  readonly run_at: Date | null
  readonly expires_at: Date | null
  readonly started_at: Date | null
  readonly finished_at: Date | null
  readonly result: string | null
  readonly error: JobFailure | null
  readonly custom_id: string | null
  readonly headers: Readonly<Record<string, string>> | null
  readonly worker_id: string | null
  readonly parents: readonly string[] | null
  readonly waiting_for: readonly string[] | null
}

interface StoredAttempt {
  readonly attempt: number
  readonly startedAt: string
  readonly endedAt: string
  readonly worker: string
  readonly error: JobFailure | null
}

export function snapshotOf<R>(row: SnapshotRow): JobSnapshot<R> {
  return {
    id: row.id,
    task: row.task,
    queue: row.queue,
    state: row.state,
    args: decodeText(row.args) as readonly unknown[],
    priority: row.priority,
    attempt: row.attempt,
    maxAttempts: row.max_attempts,
    attempts: attemptsOf(row),
    progress:
      row.progress === null ? null : { fraction: row.progress.fraction, ...("data" in row.progress ? { data: decode(row.progress.data) } : {}) },
    createdAt: row.created_at,
    runAt: row.run_at,
    expiresAt: row.expires_at,
    startedAt: row.started_at,
    finishedAt: row.finished_at,
    result: row.result === null ? undefined : (decodeText(row.result) as R),
    error: row.error,
    dependsOn: row.parents ?? [],
    waitingFor: row.waiting_for ?? [],
    customId: row.custom_id,
    headers: row.headers ?? {},
    worker: row.worker_id,
  }
}

/** The stored failures, and the run that ended the job well: that one is in the row itself. */
function attemptsOf(row: SnapshotRow): Attempt[] {
  const attempts: Attempt[] = (row.attempts ?? []).map((a) => ({ ...a, startedAt: new Date(a.startedAt), endedAt: new Date(a.endedAt) }))
  if (row.state === "completed" && row.started_at !== null && row.finished_at !== null) {
    attempts.push({ attempt: row.attempt, startedAt: row.started_at, endedAt: row.finished_at, worker: row.worker_id ?? "", error: null })
  }
  return attempts
}
