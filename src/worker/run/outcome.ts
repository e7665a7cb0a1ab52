/** How a run ended, and what that means for its job: the one place where an error becomes a decision. */

import type { Duration } from "../../api/duration.js"
import {
  JobCancelledError,
  JobTimeoutError,
  LeaseLostError,
  NonRetryableError,
  PayloadError,
  PayloadTooLargeError,
  RetryAfterError,
  TuskError,
  ValidationError,
  WorkerShutdownError,
} from "../../api/errors.js"
import type { JobFailure } from "../../api/events.js"
import type { Backoff } from "../../api/options.js"
import type { CurrentJob } from "../../api/worker.js"
import type { Consequences } from "../../jobs/consequences.js"
import { toMilliseconds } from "../../lib/duration.js"
import { wallClock } from "../../lib/timers.js"
import { retryDelayMs } from "../../task/backoff.js"
import type { TaskSpec } from "../../task/spec.js"
import { failureOf } from "./thrown.js"

export { failureOf }

/** What settle understands. `lost` is for us alone: nothing is to be recorded. */
export type Outcome =
  | { readonly kind: "completed"; readonly result: string | null }
  | { readonly kind: "failed"; readonly error: JobFailure }
  | { readonly kind: "cancelled"; readonly error: JobFailure }
  | { readonly kind: "retry"; readonly delayMs: number; readonly error: JobFailure }
  | { readonly kind: "snoozed"; readonly delayMs: number }
  | { readonly kind: "released" }
  /** Recorded in the job's own transaction already. */
  | { readonly kind: "recorded"; readonly row: SettleRow }
  | { readonly kind: "lost" }

/** What the function settle returns. */
export interface SettleRow extends Consequences {
  /** Those that were ours; null: all of them. */
  readonly settled: string[] | null
  /** Those that ended cancelled although they had another outcome, with the reason. */
  readonly cancelled: Readonly<Record<string, JobFailure>> | null
  readonly subscribed: boolean
}

/** Thrown by `snooze()`. Not an error of the handler's, so it carries no stack. */
export class SnoozeSignal {
  readonly delayMs: number
  /** So that a worker recognises it when the handler has another copy of this package. */
  readonly "~snooze" = true
  constructor(delayMs: number) {
    this.delayMs = delayMs
  }

  static [Symbol.hasInstance](value: unknown): boolean {
    return typeof value === "object" && value !== null && Reflect.get(value, "~snooze") === true
  }
}

/**
 * What a thrown value means. `aborted` is the reason of the run's signal when it was aborted. Never throws, whatever was thrown and whatever
 * `onError` and `backoff` do.
 */
export function outcomeOfError(what: unknown, aborted: unknown, spec: TaskSpec, job: CurrentJob, ownBackoff: Backoff | undefined): Outcome {
  const thrown = approachable(what)
  if (aborted instanceof LeaseLostError) return { kind: "lost" }
  if (aborted instanceof WorkerShutdownError) return { kind: "released" }
  if (aborted instanceof JobCancelledError) return { kind: "cancelled", error: failureOf(aborted) }
  if (thrown instanceof SnoozeSignal) return { kind: "snoozed", delayMs: thrown.delayMs }
  // A handler that heeds the signal throws an AbortError, or the reason itself; the time-out is what happened.
  const error = aborted instanceof JobTimeoutError ? aborted : thrown
  const failure = failureOf(error)
  const failed: Outcome = { kind: "failed", error: failure }
  if (isFinal(error)) return failed

  const decision = spec.options.onError === undefined ? undefined : decide(spec.options.onError, error, job)
  if (decision === "fail" || (decision === undefined && job.attempt >= job.maxAttempts)) return failed
  let delayMs = typeof decision === "object" ? decision.delayMs : undefined
  if (delayMs === undefined && error instanceof RetryAfterError) delayMs = afterMs(error.delay)
  delayMs ??= retryDelayMs(ownBackoff ?? spec.backoff, job.attempt, error, Math.random)
  return { kind: "retry", delayMs, error: failure }
}

/** A Proxy may throw at every question, `instanceof` too; what stands for one that does says so. */
function approachable(thrown: unknown): unknown {
  try {
    // The questions that decide what it means.
    for (const type of [SnoozeSignal, TuskError]) if (thrown instanceof type) break
    return thrown
  } catch {
    return new Error("An error was thrown that cannot be read: it is a Proxy whose traps throw")
  }
}

/** An onError that throws, or returns what is no decision (a promise, say), decides nothing. */
function decide(
  onError: NonNullable<TaskSpec["options"]["onError"]>,
  error: unknown,
  job: CurrentJob,
): "fail" | "retry" | { delayMs: number } | undefined {
  try {
    const decision: unknown = onError(error, job)
    if (decision === "fail" || decision === "retry") return decision
    if (decision instanceof Promise) decision.catch(() => undefined)
    else if (typeof decision === "object" && decision !== null) {
      return { delayMs: toMilliseconds(Reflect.get(decision, "retryIn") as Duration, "retryIn") }
    }
  } catch {
    // As if there were none.
  }
  return undefined
}

/** Trying again cannot help: the stored arguments or the result will be the same. */
function isFinal(error: unknown): boolean {
  return (
    error instanceof NonRetryableError || error instanceof ValidationError || error instanceof PayloadError || error instanceof PayloadTooLargeError
  )
}

function afterMs(delay: Duration | Date): number | undefined {
  try {
    return delay instanceof Date ? Math.max(0, delay.getTime() - wallClock()) : toMilliseconds(delay, "RetryAfterError's delay")
  } catch {
    return undefined
  }
}
