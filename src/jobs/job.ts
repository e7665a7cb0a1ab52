import { InvalidOptionError, JobCancelledError, JobExpiredError, JobFailedError, TuskError } from "../errors.js"
import type { Runner } from "../postgres/pool.js"
import type { Statements } from "../postgres/statements.js"
import { lanesOf, type Notifier } from "../postgres/wake.js"
import { toMilliseconds } from "../task/duration.js"
import { checkDue } from "../task/job-option-checks.js"
import type { Duration } from "../task/types.js"
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
  readonly admin: JobAdmin
}

/** The SQL functions that change jobs, for one id or many. */
export class JobAdmin {
  readonly #runner: Runner
  readonly #notifier: Notifier
  readonly #texts: { cancel: string; retry: string; remove: string }
  readonly #statements: Statements

  constructor(options: { runner: Runner; notifier: Notifier; statements: Statements; quoted: string }) {
    this.#runner = options.runner
    this.#notifier = options.notifier
    this.#statements = options.statements
    this.#texts = {
      cancel: `select ids, active, lanes, due_ms, watched from ${options.quoted}.cancel_jobs($1, $2)`,
      retry: `select ids, lanes, null as due_ms, null as watched, null as active from ${options.quoted}.retry_jobs($1)`,
      remove: `select ids, active, lanes, due_ms, watched from ${options.quoted}.remove_jobs($1)`,
    }
  }

  /** Each returns the ids that it did something to. */
  cancel(ids: readonly string[], reason: string | undefined): Promise<readonly string[]> {
    return this.#change({ text: this.#texts.cancel, values: [ids, reason ?? null] })
  }
  retry(ids: readonly string[]): Promise<readonly string[]> {
    return this.#change({ text: this.#texts.retry, values: [ids] })
  }
  remove(ids: readonly string[]): Promise<readonly string[]> {
    return this.#change({ text: this.#texts.remove, values: [ids] })
  }

  async promote(ids: readonly string[]): Promise<readonly string[]> {
    const rows = await this.#runner.run<MovedRow>({ ...this.#statements.promote_jobs, values: [ids] })
    this.#notifier.wake(rows.map((r) => ({ queue: r.queue, priority: r.priority, seq: Number(r.seq) })))
    return rows.map((r) => r.id)
  }

  async reschedule(ids: readonly string[], delay: Duration | Date): Promise<readonly string[]> {
    const { delayMs, runAt } = checkDue(delay, "reschedule()")
    const rows = await this.#runner.run<MovedRow & { state: string; due_ms: number }>({
      ...this.#statements.reschedule,
      values: [ids, delayMs ?? null, runAt ?? null],
    })
    const waiting = rows.filter((r) => r.state === "waiting").map((r) => ({ queue: r.queue, priority: r.priority, seq: Number(r.seq) }))
    const delayed = rows.filter((r) => r.state === "delayed").map((r) => r.due_ms)
    this.#notifier.wake(waiting, delayed.length === 0 ? null : Math.min(...delayed))
    return rows.map((r) => r.id)
  }

  async #change(query: { text: string; values: unknown[] }): Promise<readonly string[]> {
    const [row] = await this.#runner.run<{
      ids: string[] | null
      active: string[] | null
      lanes: unknown
      due_ms: number | null
      watched: string[] | null
    }>(query)
    if (row === undefined) return []
    this.#notifier.wake(lanesOf(row.lanes), row.due_ms)
    if (row.active !== null) this.#notifier.cancel(row.active)
    if (row.watched !== null) this.#notifier.ended(row.watched)
    return row.ids ?? []
  }
}

interface MovedRow {
  id: string
  queue: string
  priority: number
  seq: string
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

  events(): AsyncIterable<JobEvent> {
    throw new TuskError(
      "NOT_AVAILABLE",
      "job.events() is not available in this version; use tusk.events.on() in the worker's process, or job.result()",
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

  explain(): Promise<Explanation> {
    return Promise.reject(new TuskError("NOT_AVAILABLE", "job.explain() is not available in this version; see job.snapshot()"))
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
