/**
 * The runs of a worker: started here, aborted here, waited for here.
 *
 * A run is open from the call of its handler until the handler has returned; its outcome may be decided earlier (a time-out, a cancel, a lost
 * lease), and then what the handler still does is not recorded. It keeps its slot until it has returned.
 */
import { LeaseLostError, type TuskError } from "../../api/errors.js"
import type { Logger } from "../../api/logger.js"
import { clearTimeout, performance, setTimeout } from "../../lib/timers.js"
import type { TaskSpec } from "../../task/spec.js"
import type { ClaimedRow, Slot } from "../claim/claimed-job.js"
import type { Outcome } from "./outcome.js"
import { Run, type RunHost, type RunListener } from "./run.js"

export interface RunsOptions {
  readonly host: RunHost
  readonly logger: Logger
  readonly started: (run: Run) => void
  readonly decided: (run: Run, outcome: Outcome) => void
  readonly returned: (run: Run) => void
  /** May be filled again. */
  readonly freed: (slot: Slot) => void
}

export class Runs implements RunListener {
  readonly #options: RunsOptions
  readonly #open = new Set<Run>()
  /** The latest run of a job: after a time-out the same job may run here again while its first handler still goes on. */
  readonly #byJob = new Map<string, Run>()
  #onChange: (() => void) | undefined

  constructor(options: RunsOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#open.size
  }

  [Symbol.iterator](): Iterator<Run> {
    return this.#open.values()
  }

  /** Calls the handler. */
  start(row: ClaimedRow, slot: Slot, spec: TaskSpec): void {
    const run = new Run(row, slot, spec, this.#options.host)
    this.#open.add(run)
    this.#byJob.set(row.id, run)
    this.#options.started(run)
    run.start(this)
  }

  decided(run: Run, outcome: Outcome): void {
    this.#options.decided(run, outcome)
    this.#onChange?.()
  }

  returned(run: Run): void {
    this.#open.delete(run)
    this.#options.returned(run)
    if (this.#byJob.get(run.id) === run) this.#byJob.delete(run.id)
    run.slot.returned(run.row, performance.now() - run.startedAt)
    this.#options.freed(run.slot)
    this.#onChange?.()
  }

  /** All may be lost, or not: aborted, and their jobs handed back if they are still ours when the database can be asked. */
  giveUpAll(why: string): void {
    const open = [...this.#open].filter((run) => !run.decided)
    if (open.length === 0) return
    for (const run of open) run.giveUp(lostLease(run, why))
    this.#options.logger.warn("runs were given up", { jobs: open.map((run) => run.id), why })
  }

  /** These are not ours any more: aborted, and nothing of them is recorded. */
  lost(runs: readonly Run[], why: string): void {
    const open = runs.filter((run) => !run.decided)
    if (open.length === 0) return
    for (const run of open) {
      run.abort(lostLease(run, why))
      run.decideNow()
    }
    this.#options.logger.warn("runs were given up", { jobs: open.map((run) => run.id), why })
  }

  /** The run of a job whose outcome is open. */
  find(id: string): Run | undefined {
    const run = this.#byJob.get(id)
    return run === undefined || run.decided ? undefined : run
  }

  /** Aborts every run whose outcome is open. */
  abortAll(reason: (run: Run) => TuskError): void {
    for (const run of this.#open) run.abort(reason(run))
  }

  decideAll(): void {
    for (const run of this.#open) run.decideNow()
  }

  /**
   * Waits until no handler runs (`returned`), or no outcome is open (`decided`); false when `limitMs` went by or `signal` aborted before that.
   */
  async over(until: "returned" | "decided", limitMs: number, signal?: AbortSignal): Promise<boolean> {
    const isOver = (): boolean => (until === "returned" ? this.#open.size === 0 : [...this.#open].every((run) => run.decided))
    if (isOver()) return true
    if (limitMs <= 0 || signal?.aborted) return false
    return new Promise((resolve) => {
      const finish = (over: boolean): void => {
        clearTimeout(timer)
        signal?.removeEventListener("abort", onAbort)
        this.#onChange = undefined
        resolve(over)
      }
      const onAbort = (): void => finish(false)
      const timer = setTimeout(() => finish(false), Math.min(limitMs, 2 ** 31 - 1))
      signal?.addEventListener("abort", onAbort)
      this.#onChange = () => {
        if (isOver()) finish(true)
      }
    })
  }
}

function lostLease(run: Run, why: string): LeaseLostError {
  return new LeaseLostError(`Job ${run.id} (task "${run.task}") is no longer this worker's: ${why}`)
}
