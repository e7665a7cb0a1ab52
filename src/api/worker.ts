/** Workers, and the job that a handler runs for. */
import type { Duration } from "./duration.js"

/** A transaction of ours, as handlers and `tusk.transaction()` see it. */
export interface Transaction {
  /**
   * Runs one statement in it.
   * @param params for `$1`, `$2`, …
   */
  query<T = any>(sql: string, params?: readonly unknown[]): Promise<{ rows: T[]; rowCount: number | null }>
}

/** `fraction` is 0 … 1; `data` is anything that can be stored. */
export type ReportProgress = (fraction: number, data?: unknown) => void

/** The job that a handler runs for. */
export interface CurrentJob {
  /** A UUID (version 7), as text. */
  readonly id: string
  /** The name of its task. */
  readonly task: string
  /** The name of its queue. */
  readonly queue: string
  /** Its arguments, decoded. */
  readonly args: readonly unknown[]
  /** 1 on the first run. */
  readonly attempt: number
  /** Runs that it may take in all. */
  readonly maxAttempts: number
  /** When it was stored, by the server's clock. */
  readonly createdAt: Date
  /** As given by `with({ headers })`. */
  readonly headers: Readonly<Record<string, string>>
  /** The slot that a schedule made this job for. */
  readonly scheduledFor: Date | null
  /** Aborts on cancel, timeout, lost lease or shutdown; `reason` says which. */
  readonly signal: AbortSignal
  /** Fencing token: never decreases over the claims of one job; hand it to external systems. */
  readonly fence: bigint
  /** As the one that `progress: true` injects. */
  readonly reportProgress: ReportProgress
  /** With `transactional: true`: query in it, enqueue in it (`with({ tx })`). */
  readonly tx: Transaction
}

/**
 * Wraps the execution of every job of a client's workers: `await next()` runs what is inside. What it returns is the job's result; what it throws
 * counts as the handler's error.
 */
export type JobMiddleware = (job: CurrentJob, next: () => Promise<unknown>) => Promise<unknown>

/**
 * Any worker also does the duties (promote, expire, rescue, prune) of every queue in its schema. A worker whose slots are busy claims nothing;
 * it claims ahead only for handlers that have shown to be fast.
 */
export interface WorkerOptions {
  /** Queues and their concurrency. Default: every queue of a registered task, 10 each. */
  queues?: readonly string[] | Readonly<Record<string, number | { concurrency?: number }>>
  /** Jobs at once in this worker, over all its queues. Default none. What was claimed and cannot start within a second goes back. */
  concurrency?: number
  /** Drain on SIGTERM and SIGINT, then end the process by that signal unless the application listens to it too. Default true. */
  signals?: boolean
  /** How long a drain waits for running jobs before it aborts them. Default 30 s. */
  drainTimeout?: Duration
  /** The floor under notifications. Default 5 s. */
  poll?: Duration
  /** Beats every quarter of it; dead after it. Default 20 s. */
  lease?: Duration
  /** Runs before the first claim; one that throws stops the start. */
  onStart?: (worker: Worker) => unknown
  /** Runs after the last job; one that throws is logged. */
  onStop?: (worker: Worker) => unknown
}

/** A running worker, as `tusk.work()` returns it. */
export interface Worker extends AsyncDisposable {
  /** A UUID; snapshots and logs name it. */
  readonly id: string
  /** Resolves once it has stopped, by whatever cause. */
  readonly stopped: Promise<void>
  /** Stops claiming, hands back what was not started, waits for what runs. */
  drain(): Promise<void>
  /**
   * Drains with no patience: running jobs are aborted (no attempt used), and after 5 s go back whatever their handlers do (a late outcome is
   * fenced off). Disposal drains.
   */
  stop(): Promise<void>
  /** Stops claiming alone; beats, duties and listening go on. */
  pause(): void
  /** Ends a pause, and looks for work at once. */
  resume(): void
}

/** A live worker as its schema knows it. */
export interface WorkerInfo {
  /** A UUID. */
  readonly id: string
  /** The name of its machine. */
  readonly host: string
  /** Of its process, on that machine. */
  readonly pid: number
  /** Of the package that it runs. */
  readonly version: string
  /** Queues that it serves. */
  readonly queues: readonly string[]
  /** Jobs that it ran at its last beat. */
  readonly running: number
  /** When it registered. */
  readonly startedAt: Date
  /** Its last beat. */
  readonly heartbeatAt: Date
}
