/** How a run ended, and what that means for its job: the one place where an error becomes a decision. */
import {
  JobCancelledError,
  JobTimeoutError,
  LeaseLostError,
  NonRetryableError,
  PayloadError,
  PayloadTooLargeError,
  RetryAfterError,
  type TuskError,
  ValidationError,
  WorkerShutdownError,
} from "../errors.js"
import type { JobFailure } from "../jobs/types.js"
import { retryDelayMs } from "../task/backoff.js"
import { toMilliseconds } from "../task/duration.js"
import type { TaskSpec } from "../task/spec.js"
import type { Backoff, Duration } from "../task/types.js"
import type { SettleRow } from "./settler.js"
import type { CurrentJob } from "./types.js"

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

/** Thrown by `snooze()`. Not an error of the handler's, so it carries no stack. */
export class SnoozeSignal {
  readonly delayMs: number
  constructor(delayMs: number) {
    this.delayMs = delayMs
  }
}

const MAX_STACK = 8_000

/** An error, or whatever else was thrown, in the form that is stored. Never throws, whatever its getters do. */
export function failureOf(thrown: unknown): JobFailure {
  try {
    if (typeof thrown === "object" && thrown !== null) {
      const name = text(Reflect.get(thrown, "name")) ?? thrown.constructor?.name ?? "Error"
      const message = text(Reflect.get(thrown, "message")) ?? `A value that is no Error was thrown: ${describe(thrown)}`
      const stack = text(Reflect.get(thrown, "stack"))
      const code: unknown = Reflect.get(thrown, "code")
      return {
        name: storable(name),
        message: storable(message),
        ...(stack === undefined ? {} : { stack: storable(withCauses(thrown, stack).slice(0, MAX_STACK)) }),
        ...(typeof code === "string" || typeof code === "number" ? { code: storable(String(code)) } : {}),
      }
    }
    return { name: "Error", message: storable(`A value that is no Error was thrown: ${describe(thrown)}`) }
  } catch {
    return { name: "Error", message: "An error was thrown that cannot be read" }
  }
}

function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined
}

function describe(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value).slice(0, 500)
  try {
    return (typeof value === "object" ? JSON.stringify(value) : String(value)).slice(0, 500)
  } catch {
    return Object.prototype.toString.call(value)
  }
}

/** The stack with those of its causes, up to five deep. */
function withCauses(error: object, stack: string): string {
  let all = stack
  let cause: unknown = Reflect.get(error, "cause")
  for (let depth = 0; depth < 5 && typeof cause === "object" && cause !== null; depth++) {
    all += `\nCaused by: ${text(Reflect.get(cause, "stack")) ?? describe(cause)}`
    cause = Reflect.get(cause, "cause")
  }
  return all
}

/** Postgres stores neither U+0000 nor half a surrogate pair. */
function storable(value: string): string {
  return value.replaceAll("\0", "\uFFFD").replace(/[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g, "\uFFFD")
}

/** What a thrown value means. `aborted` is the reason of the run's signal when it was aborted. */
export function outcomeOfError(thrown: unknown, aborted: unknown, spec: TaskSpec, job: CurrentJob, ownBackoff: Backoff | undefined): Outcome {
  if (aborted instanceof LeaseLostError) return { kind: "lost" }
  if (aborted instanceof WorkerShutdownError) return { kind: "released" }
  if (aborted instanceof JobCancelledError) return { kind: "cancelled", error: failureOf(aborted) }
  if (thrown instanceof SnoozeSignal) return { kind: "snoozed", delayMs: thrown.delayMs }
  // A handler that heeds the signal throws an AbortError, or the reason itself; the time-out is what happened.
  const error = aborted instanceof JobTimeoutError ? aborted : thrown
  const failure = failureOf(error)
  const failed: Outcome = { kind: "failed", error: failure }
  if (isFinal(error)) return failed

  let forced = false
  let delayMs: number | undefined
  if (spec.options.onError !== undefined) {
    try {
      const decision = spec.options.onError(error, job)
      if (decision === "fail") return failed
      if (decision === "retry") forced = true
      else if (decision !== undefined) {
        forced = true
        delayMs = toMilliseconds(decision.retryIn, "retryIn")
      }
    } catch {
      // An onError that throws decides nothing.
    }
  }
  if (!forced && job.attempt >= job.maxAttempts) return failed
  if (delayMs === undefined && error instanceof RetryAfterError) delayMs = afterMs(error.delay)
  delayMs ??= retryDelayMs(ownBackoff ?? spec.backoff, job.attempt, error, Math.random)
  return { kind: "retry", delayMs, error: failure }
}

/** Trying again cannot help: the stored arguments or the result will be the same. */
function isFinal(error: unknown): boolean {
  return (
    error instanceof NonRetryableError || error instanceof ValidationError || error instanceof PayloadError || error instanceof PayloadTooLargeError
  )
}

function afterMs(delay: Duration | Date): number | undefined {
  try {
    return delay instanceof Date ? Math.max(0, delay.getTime() - Date.now()) : toMilliseconds(delay, "RetryAfterError's delay")
  } catch {
    return undefined
  }
}

/** For messages and for `instanceof`-free checks in logs. */
export function isAbortOfOurs(reason: unknown): reason is TuskError {
  return (
    reason instanceof JobCancelledError ||
    reason instanceof JobTimeoutError ||
    reason instanceof LeaseLostError ||
    reason instanceof WorkerShutdownError
  )
}
