import { AsyncLocalStorage, AsyncResource } from "node:async_hooks"
import type { Duration } from "../../api/duration.js"
import { TuskError } from "../../api/errors.js"
import type { CurrentJob } from "../../api/worker.js"
import { toMilliseconds } from "../../lib/duration.js"
import { setProgressSource } from "../../task/progress.js"
import { SnoozeSignal } from "./outcome.js"

// On globalThis, since bundlers may load this module twice: a handler and its worker must share it.
const STORAGE: unique symbol = Symbol.for("pgtusk.currentJob")
const holder = globalThis as { [STORAGE]?: AsyncLocalStorage<CurrentJob> }

/** Carries the job through everything that its handler calls and awaits. */
export const jobStorage: AsyncLocalStorage<CurrentJob> = (holder[STORAGE] ??= new AsyncLocalStorage<CurrentJob>())

/**
 * Where the code of one run runs: in the context in which this was made, the worker's, with the job at hand. Each run has its own, so that what a
 * handler puts there (`enterWith`) is not found by the jobs that start after it.
 */
export class JobScope {
  readonly #job: CurrentJob
  readonly #context = new AsyncResource("pgtusk.job")

  constructor(job: CurrentJob) {
    this.#job = job
  }

  run<Args extends unknown[], R>(work: (...args: Args) => R, ...args: Args): R {
    const inJob = jobStorage.run as (job: CurrentJob, work: (...args: Args) => R, ...args: Args) => R
    return this.#context.runInAsyncScope(inJob, jobStorage, this.#job, work, ...args)
  }
}

/**
 * The job that the calling code runs in, however deep.
 *
 * ```ts
 * const report = task({ name: "reports.build" }, async (id: string) => {
 *   const { signal, attempt } = currentJob()
 *   await fetch(`https://example.com/${id}`, { signal })
 * })
 * ```
 * @throws TuskError (code NO_CURRENT_JOB) outside of a handler
 */
export function currentJob(): CurrentJob {
  const job = jobStorage.getStore()
  if (job === undefined) {
    throw new TuskError(
      "NO_CURRENT_JOB",
      "currentJob() was called outside of a job: call it in a handler that a worker runs, or in what that handler calls",
    )
  }
  return job
}

/**
 * Ends this run without using an attempt; the job runs again after `delay`. It throws, so nothing after it runs: let it pass through your
 * `catch` clauses.
 *
 * ```ts
 * if (!(await ready())) snooze("30s")
 * ```
 * @throws InvalidOptionError for a delay that is none
 */
export function snooze(delay: Duration): never {
  throw new SnoozeSignal(toMilliseconds(delay, "snooze()"))
}

// A task that is called directly inside of a handler reports to that handler's job.
setProgressSource(() => jobStorage.getStore()?.reportProgress)
