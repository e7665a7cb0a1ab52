import type { Duration } from "../api/duration.js"
import { JobCancelledError, JobExpiredError, JobFailedError, type TuskError, WaitTimeoutError } from "../api/errors.js"
import type { JobEvent, JobFailure, JobState } from "../api/events.js"
import type { Explanation, Job, JobRef, WaitOptions } from "../api/job.js"
import type { JobSnapshot } from "../api/snapshot.js"
import type { EventFeed } from "../events/event-feed.js"
import { jobEvents } from "../events/event-streams.js"
import { toPositiveMilliseconds } from "../lib/duration.js"
import { describeValue, invalidOption } from "../lib/invalid-option.js"
import { onAbort } from "../lib/on-abort.js"
import { checkAnyText, isA, readOptions } from "../lib/option-checks.js"
import { clearTimeout, setTimeout } from "../lib/timers.js"
import { isUuid } from "../lib/uuid.js"
import type { Notifier } from "../postgres/notify/wake.js"
import type { Runner } from "../postgres/run/pool.js"
import type { Statements } from "../postgres/statements/statements.js"
import { checkDue } from "../task/job-option-checks.js"
import type { JobAdmin } from "./admin.js"
import { explain } from "./explain.js"
import { type SnapshotRow, snapshotOf } from "./snapshot.js"
import { unknownJob, unlessAborted, type Waiter } from "./waiter.js"

/** What handles do their work with. */
export interface JobContext {
  readonly runner: Runner
  readonly statements: Statements
  readonly notifier: Notifier
  readonly waiter: Waiter
  readonly events: EventFeed
  readonly admin: JobAdmin
}

/** A handle by id. It reads nothing until it is asked. */
export class JobHandle<R> implements JobRef<R> {
  readonly id: string
  readonly #open: () => Promise<JobContext>

  /** `open` connects where that is still to do, and checks the schema. */
  constructor(id: string, open: () => Promise<JobContext>) {
    this.id = id
    this.#open = open
  }

  async state(): Promise<JobState> {
    return (await this.#row()).state
  }

  async snapshot(): Promise<JobSnapshot<R>> {
    return snapshotOf<R>(await this.#row())
  }

  async result(options: WaitOptions = {}): Promise<R> {
    const outcome = await this.#wait(options, "result()")
    if (outcome.ok) return outcome.value
    throw outcome.error
  }

  settled(options: WaitOptions = {}): Promise<{ ok: true; value: R } | { ok: false; error: TuskError }> {
    return this.#wait(options, "settled()")
  }

  async #wait(options: WaitOptions, field: string): Promise<{ ok: true; value: R } | { ok: false; error: TuskError }> {
    const { timeoutMs, signal } = checkWaitOptions(options, field)
    this.#checkId()
    const snapshot = await this.#ended(timeoutMs, signal)
    const what = `Job ${this.id} (task "${snapshot.task}")`
    switch (snapshot.state) {
      case "completed":
        return { ok: true, value: snapshot.result as R }
      case "cancelled":
        return { ok: false, error: new JobCancelledError(snapshot.error?.message ?? `${what} was cancelled`) }
      case "expired":
        return { ok: false, error: new JobExpiredError(`${what} expired: ${snapshot.error?.message ?? "its ttl ran out"}`) }
      default:
        return { ok: false, error: failedError(what, snapshot) }
    }
  }

  /** The time counts from here, whatever it is spent on. */
  async #ended(timeoutMs: number | undefined, signal: AbortSignal | undefined): Promise<JobSnapshot<R>> {
    signal?.throwIfAborted()
    const aborter = new AbortController()
    const forget = signal === undefined ? undefined : onAbort(signal, () => aborter.abort(signal.reason))
    const timer =
      timeoutMs === undefined
        ? undefined
        : setTimeout(() => aborter.abort(new WaitTimeoutError(`Job ${this.id} had not ended after ${timeoutMs} ms; it goes on`)), timeoutMs)
    try {
      const { waiter } = await unlessAborted(this.#open(), aborter.signal)
      return await waiter.ended(this.id, aborter.signal)
    } finally {
      clearTimeout(timer)
      forget?.()
    }
  }

  async *events(): AsyncGenerator<JobEvent, void, undefined> {
    this.#checkId()
    const { events, waiter } = await this.#open()
    yield* jobEvents(
      this.id,
      events,
      () => this.snapshot(),
      (signal) => waiter.ended(this.id, signal),
    )
  }

  async cancel(reason?: string): Promise<boolean> {
    if (reason !== undefined) checkAnyText(reason, "The reason of cancel()")
    return this.#did((admin, ids) => admin.cancel(ids, reason))
  }
  async retry(): Promise<boolean> {
    return this.#did((admin, ids) => admin.retry(ids))
  }
  async promote(): Promise<boolean> {
    return this.#did((admin, ids) => admin.promote(ids))
  }
  async reschedule(delay: Duration | Date): Promise<boolean> {
    if (delay === undefined) throw invalidOption("The delay of reschedule()", delay, "which is no time", 'write a duration ("5m") or a Date')
    const due = checkDue(delay, "The delay of reschedule()")
    return this.#did((admin, ids) => admin.reschedule(ids, due))
  }
  async remove(): Promise<boolean> {
    return this.#did((admin, ids) => admin.remove(ids))
  }

  async explain(): Promise<Explanation> {
    const row = await this.#row()
    const { runner, statements } = await this.#open()
    return explain(row, runner, statements)
  }

  async #did(change: (admin: JobAdmin, ids: readonly string[]) => Promise<readonly string[]>): Promise<boolean> {
    // An id that is none finds nothing, as an unknown one does.
    if (!isUuid(this.id)) return false
    const { admin } = await this.#open()
    return (await change(admin, [this.id])).length > 0
  }

  async #row(): Promise<SnapshotRow> {
    this.#checkId()
    const { runner, statements } = await this.#open()
    const [row] = await runner.run<SnapshotRow>({ ...statements.snapshots, values: [[this.id]] })
    if (row === undefined) throw unknownJob(this.id)
    return row
  }

  #checkId(): void {
    if (!isUuid(this.id)) throw unknownJob(describeValue(this.id))
  }
}

function checkWaitOptions(options: WaitOptions, field: string): { timeoutMs: number | undefined; signal: AbortSignal | undefined } {
  const { timeout, signal } = readOptions(options, ["timeout", "signal"], field)
  if (signal !== undefined && !isA(signal, AbortSignal)) {
    throw invalidOption(`signal of ${field}`, signal, "which is no AbortSignal", "write new AbortController().signal, or leave it out")
  }
  return { timeoutMs: timeout === undefined ? undefined : toPositiveMilliseconds(timeout, `timeout of ${field}`), signal }
}

function failedError(what: string, snapshot: JobSnapshot): JobFailedError {
  const cause = snapshot.error === null ? undefined : errorOf(snapshot.error)
  return new JobFailedError(
    `${what} failed: ${snapshot.error?.message ?? "no reason was stored"}`,
    snapshot,
    cause === undefined ? undefined : { cause },
  )
}

/** An error again, with all that was stored of it. */
function errorOf({ cause, errors, properties, ...own }: JobFailure): Error {
  const inner = cause === undefined ? undefined : { cause: errorOf(cause) }
  const error = errors === undefined ? new Error(own.message, inner) : new AggregateError(errors.map(errorOf), own.message, inner)
  for (const [name, value] of Object.entries({ ...properties, ...own })) {
    Object.defineProperty(error, name, { value, enumerable: name !== "stack" && name !== "message", configurable: true, writable: true })
  }
  return error
}

/** The handle that `enqueue` returns. */
export class EnqueuedJob<R> extends JobHandle<R> implements Job<R> {
  readonly task: string
  readonly queue: string
  readonly created: boolean

  constructor(id: string, task: string, queue: string, created: boolean, open: () => Promise<JobContext>) {
    super(id, open)
    this.task = task
    this.queue = queue
    this.created = created
  }
}
