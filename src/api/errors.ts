/**
 * Every error that pgtusk throws. Each carries a stable `code` and is recognised by a brand under `Symbol.for`, so `instanceof` also holds
 * across two copies of the package (a bundler's duplicate, an ESM and a CommonJS importer).
 */

import type { Duration } from "./duration.js"
import type { JobSnapshot } from "./snapshot.js"

const BRAND: unique symbol = Symbol.for("pgtusk.error")

// Each class has its name as a text, since minifiers rename classes: it is stored with failed jobs, and copies of the package recognise errors by it.

/** The names that an error answers to: its own class and those above it. */
function lineage(constructor: unknown): string[] {
  const names: string[] = []
  for (let c = constructor; typeof c === "function" && c !== Error; c = Object.getPrototypeOf(c)) names.push(c.name)
  return names
}

/** The base of all errors of this package. `code` is stable across versions; compare it rather than the message. */
export class TuskError extends Error {
  static override readonly name: string = "TuskError"
  /** Stable across versions, such as `INVALID_OPTION`. */
  readonly code: string
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
    this.name = new.target.name
    Object.defineProperty(this, BRAND, { value: lineage(new.target), enumerable: false })
  }

  static override [Symbol.hasInstance](value: unknown): boolean {
    if (typeof value !== "object" || value === null) return false
    const names: unknown = Reflect.get(value, BRAND)
    return Array.isArray(names) && names.includes(this.name)
  }
}

/** Throw it in a handler: the job fails at once, whatever retries are left. */
export class NonRetryableError extends TuskError {
  static override readonly name: string = "NonRetryableError"
  constructor(message: string, options?: ErrorOptions) {
    super("NON_RETRYABLE", message, options)
  }
}

/** Throw it in a handler: the attempt fails, and the retry (if one is left) comes after `delay` instead of the task's backoff. */
export class RetryAfterError extends TuskError {
  static override readonly name: string = "RetryAfterError"
  /** How long to wait before the next run. */
  readonly delay: Duration | Date
  constructor(delay: Duration | Date, message = "The handler asked for a retry later", options?: ErrorOptions) {
    super("RETRY_AFTER", message, options)
    this.delay = delay
  }
}

/** The job was cancelled: the reason of `currentJob().signal`, and what waiters on the job see. */
export class JobCancelledError extends TuskError {
  static override readonly name: string = "JobCancelledError"
  constructor(message: string, options?: ErrorOptions) {
    super("JOB_CANCELLED", message, options)
  }
}
/** The run took longer than its `timeout`. */
export class JobTimeoutError extends TuskError {
  static override readonly name: string = "JobTimeoutError"
  constructor(message: string, options?: ErrorOptions) {
    super("JOB_TIMEOUT", message, options)
  }
}
/** Another worker may own the job now (this one was taken for dead, or the job was removed): whatever this run still does is not recorded. */
export class LeaseLostError extends TuskError {
  static override readonly name: string = "LeaseLostError"
  constructor(message: string, options?: ErrorOptions) {
    super("LEASE_LOST", message, options)
  }
}
/** The worker stops and its patience is over; the job goes back and uses no attempt. */
export class WorkerShutdownError extends TuskError {
  static override readonly name: string = "WorkerShutdownError"
  constructor(message: string, options?: ErrorOptions) {
    super("WORKER_SHUTDOWN", message, options)
  }
}
/** A waiter's view of a failed job; `snapshot` has its attempts. */
export class JobFailedError extends TuskError {
  static override readonly name: string = "JobFailedError"
  /** The job as it was stored at its end, with all its attempts. */
  readonly snapshot: JobSnapshot
  constructor(message: string, snapshot: JobSnapshot, options?: ErrorOptions) {
    super("JOB_FAILED", message, options)
    this.snapshot = snapshot
  }
}
/** The job's `ttl` ran out before a run could start. */
export class JobExpiredError extends TuskError {
  static override readonly name: string = "JobExpiredError"
  constructor(message: string, options?: ErrorOptions) {
    super("JOB_EXPIRED", message, options)
  }
}
/** The job's worker vanished `maxCrashes` times. */
export class WorkerLostError extends TuskError {
  static override readonly name: string = "WorkerLostError"
  constructor(message: string, options?: ErrorOptions) {
    super("WORKER_LOST", message, options)
  }
}
/** `result({ timeout })` or `settled({ timeout })` ran out; the job itself goes on. */
export class WaitTimeoutError extends TuskError {
  static override readonly name: string = "WaitTimeoutError"
  constructor(message: string, options?: ErrorOptions) {
    super("WAIT_TIMEOUT", message, options)
  }
}

/** An option that is misspelt, out of range or of the wrong kind; the message names it, its value and what to write instead. */
export class InvalidOptionError extends TuskError {
  static override readonly name: string = "InvalidOptionError"
  constructor(message: string, options?: ErrorOptions) {
    super("INVALID_OPTION", message, options)
  }
}
/** An argument or a result that cannot be stored; `path` says where it stands, as in `$.items[3].callback`. */
export class PayloadError extends TuskError {
  static override readonly name: string = "PayloadError"
  /** Where in the arguments or the result, such as `args[0].items[3]`. */
  readonly path: string
  constructor(message: string, path: string, options?: ErrorOptions) {
    super("PAYLOAD", message, options)
    this.path = path
  }
}
/** Arguments larger than `maxPayloadBytes`. */
export class PayloadTooLargeError extends TuskError {
  static override readonly name: string = "PayloadTooLargeError"
  constructor(message: string, options?: ErrorOptions) {
    super("PAYLOAD_TOO_LARGE", message, options)
  }
}
/** The task's schema refused the input. */
export class ValidationError extends TuskError {
  static override readonly name: string = "ValidationError"
  /** What the schema objects to: for each, the path of the field and the schema's message. */
  readonly issues: readonly { path: readonly PropertyKey[]; message: string }[]
  constructor(message: string, issues: readonly { path: readonly PropertyKey[]; message: string }[], options?: ErrorOptions) {
    super("VALIDATION", message, options)
    this.issues = issues
  }
}
/** Two functions under one task name. */
export class DuplicateTaskError extends TuskError {
  static override readonly name: string = "DuplicateTaskError"
  constructor(message: string, options?: ErrorOptions) {
    super("DUPLICATE_TASK", message, options)
  }
}
/** No task of that name is registered here or published by a worker. */
export class UnknownTaskError extends TuskError {
  static override readonly name: string = "UnknownTaskError"
  constructor(message: string, options?: ErrorOptions) {
    super("UNKNOWN_TASK", message, options)
  }
}
/** No job with that id: never stored, rolled back, removed, or past its retention. */
export class UnknownJobError extends TuskError {
  static override readonly name: string = "UnknownJobError"
  constructor(message: string, options?: ErrorOptions) {
    super("UNKNOWN_JOB", message, options)
  }
}
/** A cycle, an unknown name or an unknown parent; nothing of the flow is stored. */
export class FlowError extends TuskError {
  static override readonly name: string = "FlowError"
  constructor(message: string, options?: ErrorOptions) {
    super("FLOW", message, options)
  }
}
/** A wrong cron expression, time zone or interval; nothing is changed. */
export class ScheduleError extends TuskError {
  static override readonly name: string = "ScheduleError"
  constructor(message: string, options?: ErrorOptions) {
    super("SCHEDULE", message, options)
  }
}
/** The server cannot be reached or refuses us; the message says which of the two, and what to check. */
export class ConnectionError extends TuskError {
  static override readonly name: string = "ConnectionError"
  /** True: a statement was sent and its answer never came, so it may have taken effect. False: nothing has. */
  readonly unknown: boolean
  constructor(message: string, options?: ErrorOptions & { unknown?: boolean }) {
    super("CONNECTION", message, options)
    this.unknown = options?.unknown ?? false
  }
}
/** The schema is missing, older or newer than this version of the package. */
export class SchemaVersionError extends TuskError {
  static override readonly name: string = "SchemaVersionError"
  constructor(message: string, options?: ErrorOptions) {
    super("SCHEMA_VERSION", message, options)
  }
}
