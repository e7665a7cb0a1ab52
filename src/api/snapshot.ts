/** A job as it is stored. */
import type { JobFailure, JobState } from "./events.js"

/** One run of a job. */
export interface Attempt {
  /** Its number, from 1. */
  readonly attempt: number
  /** When it was claimed, by the server's clock. */
  readonly startedAt: Date
  /** When its outcome was recorded, by the server's clock. */
  readonly endedAt: Date
  /** The worker's id. */
  readonly worker: string
  /** null: this one succeeded. */
  readonly error: JobFailure | null
}

/** A job as it is stored, at one instant. */
export interface JobSnapshot<R = unknown> {
  /** A UUID (version 7), as text. */
  readonly id: string
  /** The name of its task. */
  readonly task: string
  /** The name of its queue. */
  readonly queue: string
  /** Where in its life it is. */
  readonly state: JobState
  /** Its arguments, decoded. */
  readonly args: readonly unknown[]
  /** Lower runs first. */
  readonly priority: number
  /** The number of its last run; 0: it has not run yet. */
  readonly attempt: number
  /** Runs that it may take in all. */
  readonly maxAttempts: number
  /** Its runs that did not succeed, oldest first. */
  readonly attempts: readonly Attempt[]
  /** What it reported last; null: nothing in this run. */
  readonly progress: { fraction: number; data?: unknown } | null
  /** When it was stored. */
  readonly createdAt: Date
  /** When it is due, while it is delayed; else null. */
  readonly runAt: Date | null
  /** From when on it must not start; null: no `ttl`. */
  readonly expiresAt: Date | null
  /** When its last run was claimed; null: it has not run, or waits again. */
  readonly startedAt: Date | null
  /** When it ended; null: it is live. */
  readonly finishedAt: Date | null
  /** What its handler returned; undefined unless it is completed. */
  readonly result: R | undefined
  /** Why it ended, or why its last run failed; null: neither. */
  readonly error: JobFailure | null
  /** Every parent. */
  readonly dependsOn: readonly string[]
  /** Parents still open. */
  readonly waitingFor: readonly string[]
  /** As given by `with({ id })`. */
  readonly customId: string | null
  /** As given by `with({ headers })`. */
  readonly headers: Readonly<Record<string, string>>
  /** The id of the worker that runs it, or ran it last. */
  readonly worker: string | null
}
