/**
 * Tells listeners, here and in other processes, what happens to the jobs of a worker. What nobody listens to is not even made.
 *
 * Invariant: the events of a job come in order, also when it is claimed and starts again before the answer to its last run's outcome has come, on another
 * connection: what its new run does is told after that.
 */

import type { JobEvent, JobEventName, JobFailure } from "../../api/events.js"
import type { EventFeed } from "../../events/event-feed.js"
import { wallClock } from "../../lib/timers.js"
import type { Outcome } from "../run/outcome.js"
import type { Run } from "../run/run.js"
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

/** An outcome is on its way to the database. */
interface Unanswered {
  readonly run: Run
  /** What the job's next run has done since. */
  readonly waiting: (() => void)[]
}

export class Announcer {
  readonly #events: EventFeed
  /** By job, in the order of its runs. */
  readonly #unanswered = new Map<string, Unanswered[]>()

  constructor(events: EventFeed) {
    this.#events = events
  }

  started(run: Run): void {
    this.#tell("job:started", run, { attempt: run.attempt })
  }

  /** Its outcome is on its way; `settled` follows. */
  decided(run: Run): void {
    if (!this.#events.wants("job:started")) return
    const runs = this.#unanswered.get(run.id)
    if (runs === undefined) this.#unanswered.set(run.id, [{ run, waiting: [] }])
    else runs.push({ run, waiting: [] })
  }

  /** Listeners here hear of every report. */
  progressed(run: Run, fraction: number, data: unknown): void {
    const told = event("job:progress", run, progressDetails(run, fraction, data))
    this.#inTurn(run, () => this.#events.emitHere(told))
  }

  /** Listeners elsewhere hear of the latest report, a few times a second and at the end. */
  latestProgress(run: Run): void {
    const last = run.lastProgress
    if (last === undefined || last.told) return
    last.told = true
    const told = event("job:progress", run, progressDetails(run, last.fraction, last.data))
    this.#inTurn(run, () => this.#events.emitElsewhere(told))
  }

  /** The database has answered to an outcome. */
  settled(settlement: Settlement, verdict: Verdict): void {
    this.#settled(settlement, verdict)
    const { run } = settlement
    const runs = this.#unanswered.get(run.id) ?? []
    const at = runs.findIndex((one) => one.run === run)
    if (at < 0) return
    const before = runs[at - 1]
    const [{ waiting }] = runs.splice(at, 1) as [Unanswered]
    if (runs.length === 0) this.#unanswered.delete(run.id)
    if (before !== undefined) before.waiting.push(...waiting)
    else for (const tell of waiting) tell()
  }

  #settled({ run, outcome }: Settlement, verdict: Verdict): void {
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
    if (!this.#events.wants(name)) return
    const told = event(name, run, details)
    this.#inTurn(run, () => this.#events.emit(told))
  }

  #inTurn(run: Run, tell: () => void): void {
    const runs = this.#unanswered.get(run.id) ?? []
    // What it has still to tell comes before its own outcome, and after that of the run before.
    const at = runs.findIndex((one) => one.run === run)
    const before = at < 0 ? runs.at(-1) : runs[at - 1]
    if (before === undefined) tell()
    else before.waiting.push(tell)
  }
}

function event(name: JobEventName, run: Run, details: Details): JobEvent {
  return { name, id: run.id, task: run.task, queue: run.queue, at: new Date(wallClock()), ...details }
}

function progressDetails(run: Run, progress: number, data: unknown): Details {
  return { attempt: run.attempt, progress, ...(data === undefined ? {} : { data }) }
}
