/** Handles of jobs. */
import type { Duration } from "./duration.js"
import type { TuskError } from "./errors.js"
import type { JobEvent, JobState } from "./events.js"
import type { JobSnapshot } from "./snapshot.js"

/** How long to wait for a job. */
export interface WaitOptions {
  /** Default: for ever. */
  timeout?: Duration
  /** Ends the wait with the signal's reason; the job goes on. */
  signal?: AbortSignal
}

/** What `enqueue` returns. Never thenable: awaiting `enqueue()` does not wait for the job. */
export interface Job<R = unknown> extends JobRef<R> {
  /** The name of its task. */
  readonly task: string
  /** The name of its queue. */
  readonly queue: string
  /** False: an existing job owns the id or key, and this is its handle. */
  readonly created: boolean
}

/** A handle by id; the readers throw UnknownJobError when there is no such job. */
export interface JobRef<R = unknown> {
  /** A UUID (version 7), as text. */
  readonly id: string
  /** Where in its life the job is now. */
  state(): Promise<JobState>
  /** All that is stored of it. */
  snapshot(): Promise<JobSnapshot<R>>
  /** Waits without polling of its own. Throws JobFailedError, JobCancelledError, JobExpiredError, WaitTimeoutError. */
  result(options?: WaitOptions): Promise<R>
  /** As `result()`, without throwing for how the job ended. Still throws UnknownJobError and WaitTimeoutError. */
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

/** Why a job is not running: every reason that holds now, the decisive one first. */
export interface Explanation {
  /** Where in its life the job is. */
  readonly state: JobState
  /** Empty when it could start now. `until`: when this reason ends, where that is known. */
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
