import { InvalidOptionError, JobCancelledError, JobExpiredError, JobFailedError, type TuskError } from "../errors.js"
import type { Runner } from "../postgres/pool.js"
import type { Statements } from "../postgres/statements.js"
import type { Notifier } from "../postgres/wake.js"
import { toMilliseconds } from "../task/duration.js"
import type { Duration } from "../task/types.js"
import type { JobAdmin } from "./admin.js"
import type { EventFeed } from "./event-feed.js"
import { jobEvents } from "./event-streams.js"
import { explain } from "./explain.js"
import { type SnapshotRow, snapshotOf } from "./snapshot.js"
import type { Explanation, Job, JobEvent, JobRef, JobSnapshot, JobState, WaitOptions } from "./types.js"
import { isUuid } from "./uuid.js"
import { unknownJob, type Waiter } from "./waiter.js"

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
    const outcome = await this.settled(options)
    if (outcome.ok) return outcome.value
    throw outcome.error
  }

  async settled(options: WaitOptions = {}): Promise<{ ok: true; value: R } | { ok: false; error: TuskError }> {
    const timeoutMs = options.timeout === undefined ? undefined : toMilliseconds(options.timeout, "timeout")
    this.#checkId()
    const { waiter } = await this.#open()
    const snapshot = (await waiter.ended(this.id, timeoutMs, options.signal)) as JobSnapshot<R>
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

  async *events(): AsyncGenerator<JobEvent, void, undefined> {
    this.#checkId()
    const { events, waiter } = await this.#open()
    yield* jobEvents(
      this.id,
      events,
      () => this.snapshot(),
      (signal) => waiter.ended(this.id, undefined, signal),
    )
  }

  async cancel(reason?: string): Promise<boolean> {
    if (reason !== undefined && typeof reason !== "string") throw new InvalidOptionError(`The reason of cancel() is ${String(reason)}; write a text`)
    return this.#did((admin, ids) => admin.cancel(ids, reason))
  }
  async retry(): Promise<boolean> {
    return this.#did((admin, ids) => admin.retry(ids))
  }
  async promote(): Promise<boolean> {
    return this.#did((admin, ids) => admin.promote(ids))
  }
  async reschedule(delay: Duration | Date): Promise<boolean> {
    return this.#did((admin, ids) => admin.reschedule(ids, delay))
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
    if (!isUuid(this.id)) throw unknownJob(JSON.stringify(this.id))
  }
}

function failedError(what: string, snapshot: JobSnapshot): JobFailedError {
  const cause = snapshot.error === null ? undefined : Object.assign(new Error(snapshot.error.message), snapshot.error)
  return new JobFailedError(
    `${what} failed: ${snapshot.error?.message ?? "no reason was stored"}`,
    snapshot,
    cause === undefined ? undefined : { cause },
  )
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
