/** Options of tasks and of single jobs. */
import type { Duration } from "./duration.js"
import type { JobRef } from "./job.js"
import type { CurrentJob } from "./worker.js"

/** Lower runs first; first in, first out inside one priority. −32768 … 32767, default 5. */
export type Priority = number

/**
 * The wait before retry n (n = 1, 2, …). A number b is an exponential base: `b ** n` seconds, exactly; 0 is at once.
 * `{ base, first }` waits `first * base ** (n - 1)`, at most `max`; `fixed` is the same each time; `steps` repeats its last; `jitter` adds up
 * to that fraction at random. Default `{ base: 2, first: "1s", max: "1h", jitter: 0.1 }`.
 */
export type Backoff =
  | number
  | { base: number; first?: Duration; max?: Duration; jitter?: number }
  | { fixed: Duration; jitter?: number }
  | { steps: readonly Duration[] }

/** A backoff in code: on the task only, not on one job (it cannot be stored). One that throws counts as the default. */
export type BackoffFunction = (retry: number, error: unknown) => Duration

/**
 * How long a finished job stays readable at least (it goes with its day); `false` deletes it with its completion.
 * Default `{ completed: "1d", failed: "14d" }`; `failed` also covers expired and cancelled jobs.
 */
export interface Retention {
  /** Of completed jobs. Default `"1d"`. */
  completed?: Duration | false
  /** Of failed, expired and cancelled jobs. Default `"14d"`. */
  failed?: Duration | false
}

/** Options of a run that may stand on the task (for all its jobs) and on one job (which wins). */
export interface RunOptions {
  /** The queue. Default `"default"`. */
  queue?: string
  /** Extra runs after the first. Default 0. */
  retries?: number
  /** The wait between runs. */
  backoff?: Backoff
  /**
   * Staleness from creation: a run, first or repeated, that has not started by then never starts; the job is `expired`, a dead letter.
   * Default none.
   */
  ttl?: Duration
  /** One run may take this long; then its signal aborts and the attempt fails. Default none. */
  timeout?: Duration
  /** Lower runs first. −32768 … 32767, default 5. */
  priority?: Priority
  /** How long the finished job stays readable. */
  keep?: Retention
}

/** How a rate is kept. Default `"sliding-window"`. */
export type RateStrategy = "sliding-window" | "token-bucket"

/** So many starts in a length of time. */
export interface RateLimit {
  /** How many starts. 0: none. */
  limit: number
  /** In which length of time. */
  per: Duration
  /** Default `"sliding-window"`: never more than `limit` in any window of that length. */
  strategy?: RateStrategy
}

/**
 * A string or `{ key }` holds the key until its owner has finished. With `ttl` it is held for exactly that long from the first add, finished or
 * not (throttle); `extend` restarts the time at each duplicate. `replace` (debounce): while the owner is still delayed (a retry included:
 * attempts and error are reset), a duplicate gives it the new arguments, options and due time; it stays the same job, so every caller's handle
 * resolves with the last. The duplicate's handle is the owner's, with `created: false`.
 */
export interface DeduplicateOptions {
  /** Jobs of one queue with the same key are the same job. At most 1,000 bytes. */
  key: string
  /** How long the key is held from the first add on. Default: until its owner has finished. */
  ttl?: Duration
  /** Debounce: a duplicate replaces what its delayed owner would do. Default false. */
  replace?: boolean
  /** Each duplicate restarts the `ttl`. Default false. */
  extend?: boolean
}

/**
 * Options of `task()`. Where they are a constant of their own, say `satisfies TaskOptions` rather than `: TaskOptions`: then it stays known whether
 * the function gets `reportProgress`.
 */
export interface TaskOptions<A extends readonly unknown[] = readonly any[]> extends Omit<RunOptions, "backoff"> {
  /** Stable name in the database, best dotted (`"reports.generate"`). Default: the function's own name; neither is an error. */
  name?: string
  /** Injects `reportProgress` as the function's first parameter; `enqueue()` drops it. Default false. */
  progress?: boolean
  /** The handler runs in a transaction with its own completion: `currentJob().tx`. Default false. */
  transactional?: boolean
  /** The wait before each retry. Default `{ base: 2, first: "1s", max: "1h", jitter: 0.1 }`. */
  backoff?: Backoff | BackoffFunction
  /** One job a key, from its arguments. */
  deduplicate?: (...args: A) => string | DeduplicateOptions
  /** At most `limit` jobs a key run at once, over all workers; `Infinity`: keys only take turns. What must wait stays `waiting`. */
  concurrency?: { limit: number; key?: (...args: A) => string }
  /**
   * At most `limit` starts a key in any window of length `per`, over all workers; 0 starts none. What must wait stays `waiting`. Every run is a start,
   * also a repeated one. With `strategy: "token-bucket"` up to `limit` at once, and then one more every `per / limit`.
   */
  rateLimit?: RateLimit & { key?: (...args: A) => string }
  /** A job whose worker vanished this many times is `failed` with WorkerLostError. Default 5. */
  maxCrashes?: number
  /** Where handlers run. Default `"main"`. */
  runIn?: "main" | "thread" | "process"
  /** Decides on a failed attempt; undefined leaves it to `retries` and `backoff`. */
  onError?: (error: unknown, job: CurrentJob) => "retry" | "fail" | { retryIn: Duration } | undefined
}

/** What a child does when a parent fails, is cancelled, expires or is removed. */
export type OnParentFailure = "block" | "fail" | "cancel" | "run"

/** A client, as an option: a `Tusk`. */
export interface TuskLike {
  /** Internal. */
  readonly "~client": object
}

/** Options of one job, given by `task.with(options)`; those of RunOptions default to the task's. */
export interface EnqueueOptions extends RunOptions {
  /** The client to use. Default: the configured one. */
  via?: TuskLike
  /**
   * The caller's transaction, of any supported client: the job exists iff it commits; until then its handle's readers throw UnknownJobError.
   * An unknown client is an InvalidOptionError. A bare pg client outside of begin/commit enqueues at once.
   */
  tx?: unknown
  /** Not before this much later, or not before that instant. Default at once. */
  delay?: Duration | Date
  /** Jobs that must end first. */
  dependsOn?: readonly (JobRef<any> | string | { job: JobRef<any> | string; onFailure?: OnParentFailure })[]
  /** Default for `dependsOn`. Default `"block"`. */
  onParentFailure?: OnParentFailure
  /** Each success enqueues the next run this much later. */
  repeatEvery?: Duration
  /** Custom id: one job with it in its queue until that job is removed; found by `queue.job(id)`. Not empty, not digits only, no `:`. */
  id?: string
  /** Instead of what the task's `deduplicate` says. */
  deduplicate?: string | DeduplicateOptions
  /** Instead of what the task's `concurrency.key` says; for producers without the task's code, and for arguments that are not there yet. */
  concurrencyKey?: string
  /** Instead of what the task's `rateLimit.key` says. */
  rateLimitKey?: string
  /** Small strings that travel with the job: `currentJob().headers`. */
  headers?: Readonly<Record<string, string>>
  /** `"poll"`: no notification; for transactions that must not take the notify lock. Default `"now"`. */
  wake?: "now" | "poll"
}

/** A job about to be enqueued, as `onEnqueue` middlewares see it: they may replace `args` and `options`. */
export interface EnqueueDraft {
  /** The name of the task. */
  readonly task: string
  /** Before validation and encoding. */
  args: readonly unknown[]
  /** Of the call, merged with those of `with()`. */
  options: EnqueueOptions
}

/** Wraps every enqueue of a client, a call for each job; without `await next()` the job is not stored and the caller gets an error. */
export type EnqueueMiddleware = (draft: EnqueueDraft, next: () => Promise<void>) => Promise<void>

/**
 * When a schedule fires. Cron has five fields, or six with seconds first. `every` keeps a fixed grid from `from` (default: creation; first run
 * one interval later). Defaults: `overlap: "all"`, `missed: "once"`. A slot is missed when no worker fired it within a minute or half its
 * interval, whichever is less; `missed: "all"` makes at most 1,000 jobs. A wall-clock time that DST skips runs once right after the gap, one
 * that it repeats runs once.
 */
export type When = ({ cron: string; tz?: string } | { every: Duration }) & {
  from?: Date
  until?: Date
  limit?: number
  overlap?: "all" | "skip"
  missed?: "skip" | "once" | "all"
}

/** Any Standard Schema (zod, valibot, arktype). See standardschema.dev. */
export interface StandardSchema<I = unknown, O = I> {
  /** As the specification says. */
  readonly "~standard": {
    readonly version: 1
    readonly vendor: string
    readonly validate: (value: unknown) => unknown
    readonly types?: { readonly input: I; readonly output: O } | undefined
  }
}
