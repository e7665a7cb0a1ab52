/** What a statement brings about beside what it was asked for, and who must hear of it. */

import type { JobEventName, JobFailure } from "../api/events.js"
import type { EventFeed } from "../events/event-feed.js"
import { wallClock } from "../lib/timers.js"
import { lanesOf, type Notifier } from "../postgres/notify/wake.js"

/** A job of which a statement says more than its id. */
export interface ToldJob {
  readonly id: string
  readonly queue: string
  readonly task: string
  readonly attempt?: number
}

/** One that ended although nobody ran it: it was cancelled, it expired, its worker vanished, or its parent's end decided about it. */
interface EndedJob extends ToldJob {
  readonly state: "failed" | "expired" | "cancelled"
  readonly error: JobFailure
}

/** The columns that all functions share which end jobs (sql/functions/settle.sql). */
export interface Consequences {
  /** Lanes that gained work, as `lanesOf` reads them. */
  readonly lanes: unknown
  /** Milliseconds until the first job that was put off; null: none was. */
  readonly due_ms: number | null
  /** Jobs that ended for which somebody waits. */
  readonly watched: readonly string[] | null
  readonly ended: readonly EndedJob[] | null
}

/** Wakes workers, tells those who wait, and those who listen to events. */
export class Aftermath {
  readonly #notifier: Notifier
  readonly #events: EventFeed

  constructor({ notifier, events }: { notifier: Notifier; events: EventFeed }) {
    this.#notifier = notifier
    this.#events = events
  }

  follow({ lanes, due_ms, watched, ended }: Consequences): void {
    if (lanes !== null || due_ms !== null) this.#notifier.wake(lanesOf(lanes), due_ms)
    if (watched !== null) this.#notifier.ended(watched)
    for (const { state, ...job } of ended ?? []) this.#tell(`job:${state}`, job)
  }

  /** Events of jobs that nobody ran just then. */
  tell(name: JobEventName, jobs: readonly ToldJob[] | null): void {
    for (const job of jobs ?? []) this.#tell(name, job)
  }

  #tell(name: JobEventName, { id, queue, task, attempt, error }: ToldJob & { readonly error?: JobFailure }): void {
    if (!this.#events.wants(name)) return
    const details = { ...(attempt === undefined ? {} : { attempt }), ...(error === undefined ? {} : { error }) }
    this.#events.emit({ name, id, task, queue, at: new Date(wallClock()), ...details })
  }
}
