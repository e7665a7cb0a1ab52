/** A function that is also a task. */
import type { Job } from "./job.js"
import type { EnqueueOptions, TaskOptions, When } from "./options.js"
import type { Schedule } from "./schedule.js"

/** A function that is also a task: call it to run it here and now, `enqueue` to store a job. */
export interface Task<A extends readonly unknown[] = readonly any[], R = unknown> {
  /** Runs the function here and now; touches no queue. */
  (...args: A): Promise<R>
  /** The name in the database. */
  readonly taskName: string
  /** As given to `task()`, frozen. */
  readonly options: Readonly<TaskOptions>
  /**
   * Stores a job. Throws PayloadError, PayloadTooLargeError, ValidationError, InvalidOptionError, ConnectionError or SchemaVersionError;
   * then nothing is stored.
   */
  enqueue(...args: A): Promise<Job<R>>
  /** `enqueue` under another name. */
  delay(...args: A): Promise<Job<R>>
  /** `enqueue` under another name. */
  send(...args: A): Promise<Job<R>>
  /** One job for each argument list, in one statement: all or none. */
  enqueueMany(list: readonly A[]): Promise<Job<R>[]>
  /** An immutable view with options: reuse it, pass it on; `with().with()` merges, the later wins. */
  with(options: EnqueueOptions): BoundTask<A, R>
  /** Stores a schedule that enqueues this task; the same `id` again updates it. */
  schedule(id: string, when: When, ...args: A): Promise<Schedule>
  /** A node for a flow or for `tusk.enqueueMany`; enqueues nothing by itself. */
  call(...args: { [K in keyof A]: A[K] | Ref<A[K]> }): Call<R>
}

/** A task with options: what `with()` returns. */
export type BoundTask<A extends readonly unknown[], R> = Pick<
  Task<A, R>,
  "taskName" | "enqueue" | "delay" | "send" | "enqueueMany" | "with" | "schedule" | "call"
>

/** The future result of a node, usable as an argument of another node's call: the reference is the dependency. */
export interface Ref<T> {
  /** For the types alone; it has no value. */
  readonly "~ref": T
}

/** A task with its arguments, not yet enqueued. */
export interface Call<R> {
  /** For the types alone; it has no value. */
  readonly "~result": R
  /** The same call with options, merged over those that it has. */
  with(options: EnqueueOptions): Call<R>
}
