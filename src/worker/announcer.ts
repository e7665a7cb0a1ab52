/** Tells listeners, here and in other processes, what happens to the jobs of a worker. What nobody listens to is not even made. */
import type { EventFeed } from "../jobs/event-feed.js"
import type { JobEvent, JobEventName, JobFailure } from "../jobs/types.js"
import type { Outcome } from "./outcome.js"
import type { Run } from "./run.js"
import type { Settlement, Verdict } from "./settler.js"

interface Details {
  readonly attempt: number
  readonly progress?: number
  readonly data?: unknown
  readonly error?: JobFailure
}

const NAMES: Readonly<Partial<Record<Outcome["kind"], JobEventName>>> = {
  completed: "job:completed",
  failed: "job:failed",
  cancelled: "job:cancelled",
  retry: "job:retrying",
  snoozed: "job:snoozed",
}

export class Announcer {
  readonly #events: EventFeed

  constructor(events: EventFeed) {
    this.#events = events
  }

  started(run: Run): void {
    this.#tell("job:started", run, { attempt: run.attempt })
  }

  /** Listeners here hear of every report. */
  progressed(run: Run, fraction: number, data: unknown): void {
    this.#events.emitHere(event("job:progress", run, progressDetails(run, fraction, data)))
  }

  /** Listeners elsewhere hear of the latest report, a few times a second and at the end. */
  latestProgress(run: Run): void {
    const last = run.lastProgress
    if (last === undefined || last.told) return
    last.told = true
    this.#events.emitElsewhere(event("job:progress", run, progressDetails(run, last.fraction, last.data)))
  }

  /** The database has answered to an outcome. */
  settled({ run, outcome }: Settlement, verdict: Verdict): void {
    if (verdict === "lost") return
    this.latestProgress(run)
    if (typeof verdict === "object") {
      this.#tell("job:cancelled", run, { attempt: run.attempt, error: verdict.cancelled })
      return
    }
    const name = NAMES[outcome.kind]
    if (name !== undefined) this.#tell(name, run, { attempt: run.attempt, ...("error" in outcome ? { error: outcome.error } : {}) })
  }

  #tell(name: JobEventName, run: Run, details: Details): void {
    if (this.#events.wants(name)) this.#events.emit(event(name, run, details))
  }
}

function event(name: JobEventName, run: Run, details: Details): JobEvent {
  return { name, id: run.id, task: run.task, queue: run.queue, at: new Date(), ...details }
}

function progressDetails(run: Run, progress: number, data: unknown): Details {
  return { attempt: run.attempt, progress, ...(data === undefined ? {} : { data }) }
}
