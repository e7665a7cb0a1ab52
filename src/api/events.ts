/** What happens to jobs, and who listens. */

/** The life of a job. `waiting | delayed | blocked | active` are live; the rest are its ends. */
export type JobState = "waiting" | "delayed" | "blocked" | "active" | "completed" | "failed" | "expired" | "cancelled"

/** An error as it is stored: what Node would print of it. Texts are cut at 8,000 characters, the whole at some 50,000. */
export interface JobFailure {
  /** The class of the error, such as `TypeError`. */
  readonly name: string
  /** Its message. */
  readonly message: string
  /** With the stacks of its causes, each after `Caused by: `. */
  readonly stack?: string
  /** Its `code`, where it had one: `ECONNREFUSED`, an SQLSTATE, a code of this package. */
  readonly code?: string
  /** What caused it, up to five deep. */
  readonly cause?: JobFailure
  /** The errors of an AggregateError; of a SuppressedError the one that was thrown and the one that it hid. At most ten. */
  readonly errors?: readonly JobFailure[]
  /** Its own enumerable properties as JSON (`status`, `detail`, `issues`, …), bounded in depth and size; a word where JSON has no form for a value. */
  readonly properties?: Readonly<Record<string, unknown>>
}

/** What can happen to a job. `job:deduplicated`: an enqueue found that another job owns its key or id; `job:stalled`: its worker vanished. */
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
  /** What happened. */
  readonly name: JobEventName
  /** The job's id. */
  readonly id: string
  /** The name of its task. */
  readonly task: string
  /** The name of its queue. */
  readonly queue: string
  /** When, by the clock of the process that saw it. */
  readonly at: Date
  /** The number of the run that it belongs to, from 1; left out where there is none. */
  readonly attempt?: number
  /** 0 … 1, on `job:progress`. */
  readonly progress?: number
  /** What the handler reported with its progress. */
  readonly data?: unknown
  /** Why: on failed, retrying, expired, cancelled and stalled ones. */
  readonly error?: JobFailure
}

/** Call it to end it; `ready` resolves once it is live. */
export interface Subscription {
  /** Ends it. Calling it again does nothing. */
  (): void
  /** Resolves once events of other processes arrive; those of this process do at once. */
  readonly ready: Promise<void>
}

/** Events of jobs. A listener that throws is logged and harms nothing. */
export interface Events {
  /**
   * Calls `listener` for each event of this name, or for all (`"*"`), of every process on the schema.
   * @example
   * const off = tusk.events.on("job:failed", ({ id, error }) => alert(id, error))
   * await off.ready
   */
  on(name: JobEventName | "*", listener: (event: JobEvent) => void): Subscription
  /**
   * The same as a stream, for those that fit the filter. It ends with the loop, or with `signal`.
   * @example
   * for await (const { id } of tusk.events.iterate({ queue: "mail", names: ["job:completed"] })) console.log(id)
   */
  iterate(filter?: { queue?: string; task?: string; names?: readonly JobEventName[]; signal?: AbortSignal }): AsyncIterable<JobEvent>
}
