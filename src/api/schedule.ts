/** Jobs that repeat. */
import type { Job } from "./job.js"
import type { EnqueueOptions, When } from "./options.js"

/** A stored schedule at one instant. */
export interface Schedule {
  /** As given to `task.schedule()`. */
  readonly id: string
  /** The name of the task that it enqueues. */
  readonly task: string
  /** The queue of its jobs. */
  readonly queue: string
  /** When it fires. */
  readonly when: When
  /** The arguments of its jobs. */
  readonly args: readonly unknown[]
  /** null while paused or past its end. */
  readonly nextRunAt: Date | null
  /** The slot that it fired for last; null: it has not fired yet. */
  readonly lastRunAt: Date | null
  /** It does not fire. */
  readonly paused: boolean
}

/** The schedules of a client's schema. */
export interface Schedules {
  /** By task name, for tools; `task.schedule()` is the typed form. */
  upsert(schedule: { id: string; task: string; args?: readonly unknown[]; when: When; options?: EnqueueOptions }): Promise<Schedule>
  /** All, by id. */
  list(): Promise<Schedule[]>
  /** One; undefined: there is none with this id. */
  get(id: string): Promise<Schedule | undefined>
  /** The next `count` instants. */
  preview(id: string, count: number): Promise<Date[]>
  /** It fires no more until it is resumed. False: there is none, or it is paused. */
  pause(id: string): Promise<boolean>
  /** Goes on with the next slot after now. False: there is none, or it is not paused. */
  resume(id: string): Promise<boolean>
  /** Enqueues its job now; the grid stays. */
  trigger(id: string): Promise<Job>
  /** Deletes it; jobs that it has made stay. False: there is none. */
  remove(id: string): Promise<boolean>
}
