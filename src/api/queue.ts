/** Queues, and finding jobs in them. */
import type { Duration } from "./duration.js"
import type { JobState } from "./events.js"
import type { Job } from "./job.js"
import type { RateLimit, Retention } from "./options.js"
import type { JobSnapshot } from "./snapshot.js"

/** How many jobs there are in each state. */
export type Counts = Readonly<Record<JobState, number>>

/** `args` is containment (jsonb `@>`), `text` ignores case, `limit` is 50 unless said and 1,000 at most; paging is by key (`after: page.next`). */
export interface JobFilter {
  /** One or several. Default: all. */
  state?: JobState | readonly JobState[]
  /** Default: all queues. */
  queue?: string
  /** The exact name. Default: all tasks. */
  task?: string
  /** Substring of id, task, args or error. */
  text?: string
  /** Part of the arguments, as JSON contains it: `[{ tenant: 7 }]`. */
  args?: unknown
  /** Of creation. */
  since?: Date
  /** Of creation, exclusive. */
  until?: Date
  /** By creation. Default `"newest"`. */
  order?: "newest" | "oldest"
  /** Jobs a page, 1 … 1,000. Default 50. */
  limit?: number
  /** `next` of the page before. */
  after?: string
}

/** Some of the jobs that fit a filter. */
export interface JobPage {
  /** In the order that was asked for. */
  readonly jobs: readonly JobSnapshot[]
  /** For `after` of the next page; null: there is none. */
  readonly next: string | null
}

/** One queue: its jobs and its settings. */
export interface Queue {
  /** Its name. */
  readonly name: string
  /** By custom id. */
  job(id: string): Promise<Job | undefined>
  /** All workers stop claiming from it at once; what runs goes on. */
  pause(): Promise<void>
  /** Ends a pause; workers are woken. */
  resume(): Promise<void>
  /** Whether it is paused, its counts, the age of its oldest waiting job, its workers. */
  info(): Promise<QueueInfo>
  /** How many of its jobs are in each state. Counts rows: not for a loop. */
  counts(): Promise<Counts>
  /** Its jobs that fit the filter, a page at a time. */
  jobs(filter?: Omit<JobFilter, "queue">): Promise<JobPage>
  /** Removes waiting jobs; returns their ids. */
  drain(options?: { delayed?: boolean }): Promise<string[]>
  /** Removes finished jobs whose finish is older than `grace`. */
  clean(options: { state: JobState; grace?: Duration; limit?: number }): Promise<string[]>
  /** Removes everything; refuses while jobs are active unless forced. */
  obliterate(options?: { force?: boolean }): Promise<void>
  /** Its failed, expired and cancelled jobs that are kept, a page at a time. */
  deadLetters(filter?: Omit<JobFilter, "queue" | "state">): Promise<JobPage>
  /** The same jobs again, with a fresh budget, oldest finish first; `preview` only counts; `rate` is how many a second. Default: as fast as it goes. */
  redrive(filter?: Omit<JobFilter, "queue" | "state"> & { preview?: boolean; rate?: number }): Promise<number>
  /** Cancels all live jobs that fit the filter, running ones too. Returns how many. */
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

/** A queue at one instant. */
export interface QueueInfo {
  /** Its name. */
  readonly name: string
  /** Workers claim nothing from it. */
  readonly paused: boolean
  /** How many of its jobs are in each state. */
  readonly counts: Counts
  /** When its oldest waiting job was stored; null: none waits. */
  readonly oldestWaiting: Date | null
  /** How many live workers serve it. */
  readonly workers: number
}
