/** How a run ended, and what that means for its job: the one place where an error becomes a decision. */
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
} from "../errors.js"
import type { JobFailure } from "../jobs/types.js"
import { retryDelayMs } from "../task/backoff.js"
import { toMilliseconds } from "../task/duration.js"
import type { TaskSpec } from "../task/spec.js"
import type { Backoff, Duration } from "../task/types.js"
import { wallClock } from "../timers.js"
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

const MAX_MESSAGE = 8_000

/** An error, or whatever else was thrown, in the form that is stored. Never throws, whatever its getters do. */
export function failureOf(thrown: unknown): JobFailure {
  if (typeof thrown !== "object" || thrown === null) {
    return { name: "Error", message: storable(`A value that is no Error was thrown: ${describe(thrown)}`) }
  }
  const stack = text(read(thrown, "stack"))
  const code = read(thrown, "code")
  return {
    name: storable((text(read(thrown, "name")) ?? text(read(read(thrown, "constructor"), "name")) ?? "Error").slice(0, 500)),
    message: storable((text(read(thrown, "message")) ?? `A value that is no Error was thrown: ${describe(thrown)}`).slice(0, MAX_MESSAGE)),
    ...(stack === undefined ? {} : { stack: storable(withCauses(thrown, stack).slice(0, MAX_STACK)) }),
    ...(typeof code === "string" || typeof code === "number" ? { code: storable(String(code).slice(0, 500)) } : {}),
  }
}

/** A property, whatever the object does to those who look: a getter or a Proxy that throws has none. */
function read(value: unknown, key: string): unknown {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) return undefined
  try {
    return Reflect.get(value, key)
  } catch {
    return undefined
  }
}

function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined
}

function describe(value: unknown): string {
  try {
    const described = typeof value === "object" || typeof value === "string" ? JSON.stringify(value) : String(value)
    return described.slice(0, 500)
  } catch {
    return typeof value === "object" ? "an object that cannot be read" : `a ${typeof value}`
  }
}

/** The stack with those of its causes, up to five deep. */
function withCauses(error: object, stack: string): string {
  let all = stack
  let cause = read(error, "cause")
  for (let depth = 0; depth < 5 && typeof cause === "object" && cause !== null; depth++) {
    all += `\nCaused by: ${text(read(cause, "stack")) ?? describe(cause)}`
    cause = read(cause, "cause")
  }
  return all
}

/** Postgres stores neither U+0000 nor half a surrogate pair. */
function storable(value: string): string {
  return value.replaceAll("\0", "\uFFFD").replace(/[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g, "\uFFFD")
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
