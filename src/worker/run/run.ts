/** One run of one claimed job: what its handler sees of it, and how it ends. */
import {
  InvalidOptionError,
  JobCancelledError,
  JobTimeoutError,
  PayloadError,
  PayloadTooLargeError,
  TuskError,
  WorkerShutdownError,
} from "../../api/errors.js"
import type { CurrentJob, JobMiddleware, ReportProgress, Transaction } from "../../api/worker.js"
import { decodeText, encode } from "../../codec/codec.js"
import { compose } from "../../lib/middleware.js"
import { clearTimeout, performance, setTimeout } from "../../lib/timers.js"
import { isTransient } from "../../postgres/run/failure.js"
import { runTask } from "../../task/run.js"
import type { TaskSpec } from "../../task/spec.js"
import type { ClaimedRow, Slot } from "../claim/claimed-job.js"
import { JobScope } from "./current-job.js"
import type { JobTransaction } from "./job-transaction.js"
import { failureOf, type Outcome, outcomeOfError } from "./outcome.js"

/** What a run tells its worker. */
export interface RunHost {
  progressed(run: Run, fraction: number, data: unknown): void
  readonly workerId: string
  /** Middlewares around each handler; the first is the outermost. */
  readonly around: readonly JobMiddleware[]
  /** Opens the transaction of a run whose task is transactional. */
  begin(run: Run): Promise<JobTransaction>
  /** The largest result in bytes; null: any. */
  readonly maxPayloadBytes: number | null
}

export interface RunListener {
  /** Called once; what the handler still does is not recorded. */
  decided(run: Run, outcome: Outcome): void
  /** The handler has really ended, which may be later: one that ignores its signal keeps its slot. */
  returned(run: Run): void
}

/** Until a transactional run for which there was no connection is tried again. */
const NO_CONNECTION_MS = 1_000
/** For functions that do not ask for it. */
const NO_REPORT: ReportProgress = () => undefined
const NO_HEADERS: Readonly<Record<string, string>> = Object.freeze({})

export class Run implements CurrentJob {
  readonly row: ClaimedRow
  readonly slot: Slot
  readonly spec: TaskSpec
  /** The text of the last progress, until it is stored. */
  unstoredProgress: string | undefined
  /** The last progress, and whether other processes have been told. */
  lastProgress: { fraction: number; data: unknown; told: boolean } | undefined
  /** True once its outcome is decided; what the handler still does is not recorded. */
  decided = false
  /** When the handler was called, in `performance.now()` milliseconds. */
  startedAt = 0
  readonly #host: RunHost
  #reportProgress: ReportProgress | undefined
  #controller: AbortController | undefined
  readonly #scope = new JobScope(this)
  #args: readonly unknown[] | undefined
  #abortReason: TuskError | undefined
  #timer: NodeJS.Timeout | undefined
  #listener: RunListener | undefined
  #transaction: JobTransaction | undefined
  /** Its completion is on its way: too late for any other outcome. */
  #completing = false

  constructor(row: ClaimedRow, slot: Slot, spec: TaskSpec, host: RunHost) {
    this.row = row
    this.slot = slot
    this.spec = spec
    this.#host = host
  }

  get id(): string {
    return this.row.id
  }
  get task(): string {
    return this.row.task
  }
  get queue(): string {
    return this.slot.queue
  }
  get args(): readonly unknown[] {
    if (this.#args === undefined) {
      const args = decodeText(this.row.args)
      if (!Array.isArray(args)) {
        throw new PayloadError(
          `The stored arguments of job ${this.id} (task "${this.task}") are ${JSON.stringify(args).slice(0, 100)}, which is no list; whoever writes rows in SQL must store a JSON array, one element an argument`,
          "$",
        )
      }
      this.#args = args
    }
    return this.#args
  }
  get attempt(): number {
    return this.row.attempt
  }
  get maxAttempts(): number {
    return this.row.max_attempts
  }
  get createdAt(): Date {
    return new Date(this.row.created_at * 1_000)
  }
  get headers(): Readonly<Record<string, string>> {
    return this.row.headers ?? NO_HEADERS
  }
  get scheduledFor(): Date | null {
    return this.row.scheduled_for === null ? null : new Date(this.row.scheduled_for * 1_000)
  }
  get fence(): bigint {
    return BigInt(this.row.lease)
  }
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.#abortReason !== undefined) this.#controller.abort(this.#abortReason)
    }
    return this.#controller.signal
  }
  get abortReason(): TuskError | undefined {
    return this.#abortReason
  }
  get tx(): Transaction {
    if (this.#transaction !== undefined) return this.#transaction.tx
    throw new TuskError(
      "NO_TRANSACTION",
      `Job ${this.id} (task "${this.task}") has no transaction: currentJob().tx needs the task option transactional: true`,
    )
  }

  /** Made when somebody asks for it: most handlers report nothing. */
  get reportProgress(): ReportProgress {
    this.#reportProgress ??= (fraction, data) => this.#report(fraction, data)
    return this.#reportProgress
  }

  #report(fraction: number, data: unknown): void {
    if (typeof fraction !== "number" || !(fraction >= 0 && fraction <= 1)) {
      throw new InvalidOptionError(`reportProgress of task "${this.task}" got the fraction ${String(fraction)}; write a number from 0 to 1`)
    }
    if (this.decided) return
    this.unstoredProgress = `{"fraction":${JSON.stringify(fraction)}${data === undefined ? "" : `,"data":${encode(data, `The progress data of task "${this.task}"`)}`}}`
    this.lastProgress = { fraction, data, told: false }
    this.#host.progressed(this, fraction, data)
  }

  /** Aborts the signal; the first reason stays. A time-out, a lost lease and a shutdown also decide the outcome, by `decideNow`. */
  abort(reason: TuskError): void {
    if (this.#abortReason !== undefined) return
    this.#abortReason = reason
    const controller = this.#controller
    if (controller !== undefined) this.#scope.run(() => controller.abort(reason))
  }

  /** Decides the outcome by the signal's reason, although the handler has not returned. */
  decideNow(): void {
    if (this.#completing) return
    this.#settleOnce(this.#outcomeOf(this.#abortReason))
  }

  /**
   * Gives the run up although nobody has said that it is lost: aborted, and its job handed back. If another worker has it by then, the fence finds
   * nothing to hand back; if nobody has, it would be active for ever.
   */
  giveUp(reason: TuskError): void {
    this.abort(reason)
    if (!this.#completing) this.#settleOnce({ kind: "released" })
  }

  /** Calls the handler. Neither this nor anything that the handler does throws out of here. */
  start(listener: RunListener): void {
    this.#listener = listener
    this.startedAt = performance.now()
    // A transactional one may wait for a connection first, and that is no time of its own.
    if (!this.spec.transactional) this.#startClock()
    let result: unknown
    let later: boolean
    try {
      result = this.spec.transactional ? this.#transact() : this.#call()
      later = isThenable(result)
    } catch (error) {
      this.#threw(error)
      listener.returned(this)
      return
    }
    if (later) {
      // Promise.resolve also tames thenables that call back twice or throw.
      Promise.resolve(result).then(
        (value) => {
          this.#gave(value)
          listener.returned(this)
        },
        (error: unknown) => {
          this.#threw(error)
          listener.returned(this)
        },
      )
    } else {
      this.#gave(result)
      listener.returned(this)
    }
  }

  #call(): unknown {
    return this.#scope.run(Run.#callIn, this)
  }

  static #callIn(run: Run): unknown {
    const { around } = run.#host
    return around.length === 0 ? run.#callHandler() : compose<CurrentJob>(around, run, async () => run.#callHandler())
  }

  #callHandler(): unknown {
    return runTask(this.spec, this.args, this.spec.progress ? this.reportProgress : NO_REPORT)
  }

  /** The handler in a transaction with its completion. What it resolves with is of no use; the outcome is decided in here. */
  async #transact(): Promise<void> {
    let transaction: JobTransaction
    try {
      transaction = await this.#host.begin(this)
    } catch (error) {
      // The handler has not been called: no attempt is used.
      if (this.decided || !isTransient(error)) throw error
      return this.#settleOnce({ kind: "snoozed", delayMs: NO_CONNECTION_MS })
    }
    this.#transaction = transaction
    if (this.decided) return transaction.abandon()
    this.#startClock()
    const value = await this.#call()
    await transaction.idle()
    if (this.decided || this.#aborted()) return
    const result = value === undefined ? null : this.#encodeResult(value)
    this.#completing = true
    try {
      const verdict = await transaction.complete(this.#host.workerId, this.id, this.row.lease, result, this.unstoredProgress)
      this.#completing = false
      if (verdict.kind === "committed") this.#settleOnce({ kind: "recorded", row: verdict.row })
      else if (verdict.kind === "again") this.#settleOnce({ kind: "released" })
      else if (verdict.kind === "lost") this.#settleOnce({ kind: "lost" })
      else this.#settleOnce({ kind: "cancelled", error: failureOf(this.#abortReason ?? new JobCancelledError("The job was cancelled")) })
    } finally {
      this.#completing = false
    }
  }

  /** Cancelled, or no longer ours: the result is dropped. A run that makes it in spite of a shutdown counts. */
  #aborted(): boolean {
    if (this.#abortReason === undefined || this.#abortReason instanceof WorkerShutdownError) return false
    this.decideNow()
    return true
  }

  #startClock(): void {
    // A row that was written in SQL may hold anything.
    const own: unknown = this.row.options?.timeoutMs
    const timeoutMs = typeof own === "number" && own > 0 ? own : this.spec.timeoutMs
    if (timeoutMs !== undefined) this.#timer = setTimeout(() => this.#timeOut(timeoutMs), Math.min(timeoutMs, 2 ** 31 - 1))
  }

  #timeOut(timeoutMs: number): void {
    this.abort(new JobTimeoutError(`The run of task "${this.task}" took longer than its timeout of ${timeoutMs} ms`))
    this.decideNow()
  }

  #gave(value: unknown): void {
    if (this.decided || this.#aborted()) return
    let outcome: Outcome
    try {
      outcome = { kind: "completed", result: value === undefined ? null : this.#encodeResult(value) }
    } catch (error) {
      this.#threw(error)
      return
    }
    this.#settleOnce(outcome)
  }

  #encodeResult(value: unknown): string {
    const text = encode(value, `The result of task "${this.task}"`)
    const limit = this.#host.maxPayloadBytes
    if (limit !== null && text.length * 3 > limit && Buffer.byteLength(text) > limit) {
      throw new PayloadTooLargeError(
        `The result of task "${this.task}" has ${Buffer.byteLength(text)} bytes; the limit is ${limit} (maxPayloadBytes). Store it elsewhere and return where it is`,
      )
    }
    return text
  }

  #threw(error: unknown): void {
    if (this.decided) return
    this.#settleOnce(this.#outcomeOf(error))
  }

  /** With the job at hand for what `onError` and `backoff` call. */
  #outcomeOf(error: unknown): Outcome {
    try {
      return this.#scope.run(() => outcomeOfError(error, this.#abortReason, this.spec, this, this.row.options?.backoff))
    } catch {
      // A Proxy that answers once and throws the next time; there is always one more trick.
      return { kind: "failed", error: { name: "Error", message: "An error was thrown that cannot be read" } }
    }
  }

  #settleOnce(outcome: Outcome): void {
    if (this.decided) return
    this.decided = true
    clearTimeout(this.#timer)
    this.#transaction?.abandon()
    this.#listener?.decided(this, outcome)
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (typeof value === "object" || typeof value === "function") && value !== null && typeof Reflect.get(value, "then") === "function"
}
