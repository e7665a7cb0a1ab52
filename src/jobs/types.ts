import type { TuskError } from "../errors.js"
import type { Call, Duration, EnqueueOptions, OnParentFailure, RateLimit, Ref, Retention, When } from "../task/types.js"

/** The life of a job. `waiting | delayed | blocked | active` are live; the rest are its ends. */
export type JobState = "waiting" | "delayed" | "blocked" | "active" | "completed" | "failed" | "expired" | "cancelled"

export interface WaitOptions {
  /** Default: for ever. */
  timeout?: Duration
  signal?: AbortSignal
}

/** What `enqueue` returns. Never thenable: awaiting `enqueue()` does not wait for the job. */
export interface Job<R = unknown> extends JobRef<R> {
  readonly task: string
  readonly queue: string
  /** False: an existing job owns the id or key, and this is its handle. */
  readonly created: boolean
}

/** A handle by id; the readers throw UnknownJobError when there is no such job. */
export interface JobRef<R = unknown> {
  readonly id: string
  state(): Promise<JobState>
  snapshot(): Promise<JobSnapshot<R>>
  /** Waits without polling of its own. Throws JobFailedError, JobCancelledError, JobExpiredError, WaitTimeoutError. */
  result(options?: WaitOptions): Promise<R>
  settled(options?: WaitOptions): Promise<{ ok: true; value: R } | { ok: false; error: TuskError }>
  /** Begins with the state as it is (a finished job yields its end), goes on live, ends by itself after the last event. */
  events(): AsyncIterable<JobEvent>
  /** Cancels a live job. The reason is the message of `signal.reason`, of the event's and of the snapshot's error. False: nothing to do, or no such job. */
  cancel(reason?: string): Promise<boolean>
  /**
   * Takes a failed, expired or cancelled job back to waiting: attempts count on, `maxAttempts` grows by a fresh budget; it takes its key and its
   * custom id again. False for any other, and when another job owns its key or id by now: `explain()` names that one.
   */
  retry(): Promise<boolean>
  /** Makes a delayed job due now. False for any other. */
  promote(): Promise<boolean>
  /** Gives a waiting or delayed job another due time. False for any other. */
  reschedule(delay: Duration | Date): Promise<boolean>
  /** Deletes the job, live or finished; an active one is aborted and its outcome dropped. False: no such job. */
  remove(): Promise<boolean>
  /** Why it is not running. */
  explain(): Promise<Explanation>
}

/** One run of a job. */
export interface Attempt {
  readonly attempt: number
  readonly startedAt: Date
  readonly endedAt: Date
  /** The worker's id. */
  readonly worker: string
  /** null: this one succeeded. */
  readonly error: JobFailure | null
}

/** An error as it is stored: what Node would print of it. Texts are cut at 8,000 characters, the whole at some 50,000. */
export interface JobFailure {
  readonly name: string
  readonly message: string
  /** With the stacks of its causes, each after `Caused by: `. */
  readonly stack?: string
  readonly code?: string
  /** What caused it, up to five deep. */
  readonly cause?: JobFailure
  /** The errors of an AggregateError; of a SuppressedError the one that was thrown and the one that it hid. At most ten. */
  readonly errors?: readonly JobFailure[]
  /** Its own enumerable properties as JSON (`status`, `detail`, `issues`, …), bounded in depth and size; a word where JSON has no form for a value. */
  readonly properties?: Readonly<Record<string, unknown>>
}

/** A job as it is stored, at one instant. */
export interface JobSnapshot<R = unknown> {
  readonly id: string
  readonly task: string
  readonly queue: string
  readonly state: JobState
  readonly args: readonly unknown[]
  readonly priority: number
  readonly attempt: number
  readonly maxAttempts: number
  readonly attempts: readonly Attempt[]
  readonly progress: { fraction: number; data?: unknown } | null
  readonly createdAt: Date
  readonly runAt: Date | null
  readonly expiresAt: Date | null
  readonly startedAt: Date | null
  readonly finishedAt: Date | null
  readonly result: R | undefined
  readonly error: JobFailure | null
  /** Every parent. */
  readonly dependsOn: readonly string[]
  /** Parents still open. */
  readonly waitingFor: readonly string[]
  readonly customId: string | null
  readonly headers: Readonly<Record<string, string>>
  readonly worker: string | null
}

/** Why a job is not running: every reason that holds now, the decisive one first. */
export interface Explanation {
  readonly state: JobState
  readonly reasons: readonly {
    code:
      | "paused"
      | "delayed"
      | "blocked"
      | "no-worker"
      | "busy"
      | "concurrency"
      | "rate-limit"
      | "unknown-task"
      | "active"
      | "finished"
      | "key-taken"
    message: string
    until?: Date
  }[]
}

export type JobEventName =
  | "job:added"
  | "job:started"
  | "job:progress"
  | "job:completed"
  | "job:failed"
  | "job:retrying"
  | "job:snoozed"
  | "job:expired"
  | "job:cancelled"
  | "job:stalled"
  | "job:deduplicated"

/** Something that happened to a job. */
export interface JobEvent {
  readonly name: JobEventName
  readonly id: string
  readonly task: string
  readonly queue: string
  readonly at: Date
  readonly attempt?: number
  /** 0 … 1, on `job:progress`. */
  readonly progress?: number
  readonly data?: unknown
  readonly error?: JobFailure
}

/** Call it to end it; `ready` resolves once it is live. */
export interface Subscription {
  (): void
  readonly ready: Promise<void>
}

/** Events of jobs. A listener that throws is logged and harms nothing. */
export interface Events {
  on(name: JobEventName | "*", listener: (event: JobEvent) => void): Subscription
  iterate(filter?: { queue?: string; task?: string; names?: readonly JobEventName[]; signal?: AbortSignal }): AsyncIterable<JobEvent>
}

/**
 * A string or `{ key }` holds the key until its owner has finished. With `ttl` it is held for exactly that long from the first add, finished or
 * not (throttle); `extend` restarts the time at each duplicate. `replace` (debounce): while the owner is still delayed (a retry included:
 * attempts and error are reset), a duplicate gives it the new arguments, options and due time; it stays the same job, so every caller's handle
 * resolves with the last. The duplicate's handle is the owner's, with `created: false`.
 */
export interface DeduplicateOptions {
  key: string
  ttl?: Duration
  replace?: boolean
  extend?: boolean
}

/** A node of a flow under construction; its `result` may stand as an argument of a later node. */
export interface FlowNode<R> {
  readonly result: Ref<R>
}
export interface FlowBuilder {
  add<R>(call: Call<R>, options?: { after?: readonly FlowNode<any>[]; onParentFailure?: OnParentFailure }): FlowNode<R>
  /** The results of several nodes as one argument. */
  all<T extends readonly FlowNode<any>[]>(...nodes: T): Ref<{ -readonly [K in keyof T]: T[K] extends FlowNode<infer R> ? R : never }>
}
/** A graph that is stored whole or not at all; its result is the returned node's. */
export interface Flow<R> {
  readonly name: string
  enqueue(options?: Pick<EnqueueOptions, "tx" | "via">): Promise<Job<R> & { readonly jobs: readonly Job[] }>
}
/** The low level: `id` is a name inside this flow, `dependsOn` takes such names or ids of stored jobs. */
export interface FlowJob {
  id: string
  task: string
  args?: readonly unknown[]
  dependsOn?: readonly string[]
  options?: EnqueueOptions
}

export interface Schedule {
  readonly id: string
  readonly task: string
  readonly queue: string
  readonly when: When
  readonly args: readonly unknown[]
  /** null while paused or past its end. */
  readonly nextRunAt: Date | null
  readonly lastRunAt: Date | null
  readonly paused: boolean
}
export interface Schedules {
  /** By task name, for tools; `task.schedule()` is the typed form. */
  upsert(schedule: { id: string; task: string; args?: readonly unknown[]; when: When; options?: EnqueueOptions }): Promise<Schedule>
  list(): Promise<Schedule[]>
  get(id: string): Promise<Schedule | undefined>
  /** The next `count` instants. */
  preview(id: string, count: number): Promise<Date[]>
  pause(id: string): Promise<boolean>
  resume(id: string): Promise<boolean>
  /** Enqueues its job now; the grid stays. */
  trigger(id: string): Promise<Job>
  remove(id: string): Promise<boolean>
}

/** `args` is containment (jsonb `@>`), `text` ignores case, `limit` is 50 unless said and 1,000 at most; paging is by key (`after: page.next`). */
export interface JobFilter {
  state?: JobState | readonly JobState[]
  queue?: string
  task?: string
  /** Substring of id, task, args or error. */
  text?: string
  args?: unknown
  /** Of creation. */
  since?: Date
  until?: Date
  order?: "newest" | "oldest"
  limit?: number
  after?: string
}
export interface JobPage {
  readonly jobs: readonly JobSnapshot[]
  readonly next: string | null
}
export type Counts = Readonly<Record<JobState, number>>

/** One queue: its jobs and its settings. */
export interface Queue {
  readonly name: string
  /** By custom id. */
  job(id: string): Promise<Job | undefined>
  /** All workers stop claiming from it at once; what runs goes on. */
  pause(): Promise<void>
  resume(): Promise<void>
  info(): Promise<QueueInfo>
  counts(): Promise<Counts>
  jobs(filter?: Omit<JobFilter, "queue">): Promise<JobPage>
  /** Removes waiting jobs; returns their ids. */
  drain(options?: { delayed?: boolean }): Promise<string[]>
  /** Removes finished jobs whose finish is older than `grace`. */
  clean(options: { state: JobState; grace?: Duration; limit?: number }): Promise<string[]>
  /** Removes everything; refuses while jobs are active unless forced. */
  obliterate(options?: { force?: boolean }): Promise<void>
  deadLetters(filter?: Omit<JobFilter, "queue" | "state">): Promise<JobPage>
  /** The same jobs again, with a fresh budget, oldest finish first; `preview` only counts; `rate` is how many a second. Default: as fast as it goes. */
  redrive(filter?: Omit<JobFilter, "queue" | "state"> & { preview?: boolean; rate?: number }): Promise<number>
  cancelAll(filter: Omit<JobFilter, "queue">): Promise<number>
  /** The owner of a deduplication key. */
  owner(key: string): Promise<string | null>
  /** Releases a deduplication key; its job stays. */
  release(key: string): Promise<boolean>
  /**
   * Sets what is given, for all workers at once; null takes a limit away. `concurrency`: jobs of this queue at once, over all workers; fewer than run
   * now aborts none. `rateLimit`: starts.
   */
  configure(settings: { concurrency?: number | null; rateLimit?: RateLimit | null; keep?: Retention }): Promise<void>
}
export interface QueueInfo {
  readonly name: string
  readonly paused: boolean
  readonly counts: Counts
  readonly oldestWaiting: Date | null
  readonly workers: number
}
