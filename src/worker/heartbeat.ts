/**
 * Tells the others that this worker lives, and tells this worker when it must be taken for dead.
 *
 * A beat every quarter of the lease. The others take the worker for dead when its last beat in the database is older than the lease. It takes
 * itself for dead when the last beat that succeeded was *sent* a lease ago, by its monotonic clock: the database stamped that beat no earlier
 * than it was sent, so it always fences itself before, or at the moment when, the others may take its jobs.
 *
 *   alive --no beat for a lease--> fenced (runs aborted, nothing claimed) --a beat succeeds--> alive
 *   a beat that finds no row: the jobs were taken; runs aborted, registered anew
 *
 * The end of the lease is a timer of its own: a beat into a black hole, or one that waits for a connection, may answer much later. When the event
 * loop was blocked that timer is late itself; then the beat that goes out in the same turn gets its chance first.
 */

import { Service, type ServiceOptions } from "../lib/service.js"
import { clearTimeout, performance, setTimeout } from "../lib/timers.js"
import type { Runner } from "../postgres/run/pool.js"
import { newer, SCHEMA_VERSION } from "../postgres/schema/schema-version.js"
import type { SchemaNames } from "../postgres/statements/names.js"
import type { Statements } from "../postgres/statements/statements.js"
import type { Run } from "./run/run.js"

export interface HeartbeatOptions extends Omit<ServiceOptions, "name"> {
  readonly runner: Runner
  readonly names: SchemaNames
  readonly statements: Statements
  readonly workerId: string
  readonly leaseMs: number
  readonly register: () => Promise<void>
  /** Tells what has changed since the worker was registered. */
  readonly refresh: () => Promise<void>
  /** Runs whose handler has been called and whose outcome is open. */
  readonly openRuns: () => Iterable<Run>
  readonly running: () => number
  /** These runs are not ours any more. */
  readonly lost: (runs: readonly Run[], why: string) => void
  /** Nothing that was claimed is ours any more, or may be relied on. */
  readonly lostAll: (why: string) => void
  readonly cancelled: (ids: readonly string[]) => void
  /** May it be woken by notifications now? */
  readonly listens: () => boolean
  /** It is known that it may be woken, and was not before: hints for it begin to come, and what came before has to be looked for. */
  readonly listening: () => void
  /** How it stands among the live workers, as of this beat. */
  readonly fleet: (fleet: Fleet) => void
  /** A migration has closed the schema to this version of the package. */
  readonly outdated: () => void
  /** Alive again after it was fenced. */
  readonly revived: () => void
}

/** A worker among the live ones. */
interface Fleet {
  /** Its place: 0 for the first. The first two keep the time for all. */
  readonly place: number
  /** How many others there are. */
  readonly others: number
  /** Milliseconds until the next of the others is to be taken for dead unless it beats again; null: there is no other. */
  readonly nextLossMs: number | null
}

export class Heartbeat extends Service {
  readonly #options: HeartbeatOptions
  #lastBeat = 0
  #expectedAt = 0
  #fenced = false
  #warnedAt = Number.NEGATIVE_INFINITY
  #outdated = false
  #leaseEnd: NodeJS.Timeout | undefined
  /** Tasks of runs that have ended since the last beat and took long: one of them may have blocked the event loop. */
  readonly #longRuns = new Set<string>()
  /** What its row says. */
  #listens = false

  constructor(options: HeartbeatOptions) {
    super({ ...options, name: "heartbeat" })
    this.#options = options
  }

  /** Must not claim, and has given up its runs. */
  get fenced(): boolean {
    return this.#fenced
  }

  /** Whether what was claimed may be relied on to be ours still: false also when a blocked event loop has kept the lease's end from being noticed. */
  get holdsLease(): boolean {
    return !this.#fenced && performance.now() - this.#lastBeat < this.#options.leaseMs
  }

  /** Beats at once: something that its row says has changed. */
  now(): void {
    this.wake()
  }

  /** A handler has returned. */
  ended(run: Run): void {
    if (performance.now() - run.startedAt > this.#options.leaseMs / 2) this.#longRuns.add(run.task)
  }

  protected override async onStart(): Promise<void> {
    const sent = performance.now()
    await this.#options.register()
    this.#beaten(sent)
    const every = this.#options.leaseMs / 4
    this.#expectedAt = performance.now() + every
    this.spawn(async () => {
      await this.sleep(every)
      await this.loop(() => this.#beat())
    })
  }

  protected override onStop(): void {
    clearTimeout(this.#leaseEnd)
  }

  #beaten(sent: number): void {
    this.#lastBeat = sent
    clearTimeout(this.#leaseEnd)
    const due = sent + this.#options.leaseMs
    this.#leaseEnd = setTimeout(() => this.#leaseEnded(due), due - performance.now())
  }

  #leaseEnded(due: number): void {
    const every = this.#options.leaseMs / 4
    const late = performance.now() - due
    // A beat that was in flight when the event loop was blocked does not see it.
    this.#noticeLag(late)
    if (late > every) this.#leaseEnd = setTimeout(() => this.#fence(), every)
    else this.#fence()
  }

  #fence(): void {
    this.#fenced = true
    this.logger.error("no heartbeat has reached the database for a whole lease; the worker gives up its running jobs until one does")
    this.#options.lostAll("no heartbeat could be recorded for the length of the lease")
  }

  async #beat(): Promise<number> {
    const { leaseMs, runner, statements, workerId } = this.#options
    const every = leaseMs / 4
    const sent = performance.now()
    const lag = sent - this.#expectedAt
    this.#noticeLag(lag)
    this.#longRuns.clear()
    // A run that has just begun may not be visible as ours in every answer on its way; one beat later it must be.
    const known = [...this.#options.openRuns()].filter((run) => run.startedAt < sent - every && !run.decided)
    try {
      const listens = this.#options.listens()
      const values = [workerId, this.#options.running(), known.map((r) => r.id), known.map((r) => r.row.lease), listens]
      const [row] = await runner.run<BeatRow>({ ...statements.heartbeat, values }, every)
      const began = listens && !this.#listens
      this.#listens = listens
      if (row === undefined) {
        this.#options.lostAll("the worker was taken for dead")
        await this.#options.register()
      } else {
        const [place, others, nextLossMs] = row.fleet
        this.#options.fleet({ place: Number(place), others: Number(others), nextLossMs })
        const gone = (row.lost ?? []).map((place) => known[place - 1]!).filter((run) => !run.decided)
        if (gone.length > 0) this.#options.lost(gone, "another worker has the job, or it was removed")
        if (row.cancelled !== null) this.#options.cancelled(row.cancelled)
        if (row.versions !== null && row.versions[1] > SCHEMA_VERSION) this.#closedOut(row.versions[0])
      }
      this.#beaten(sent)
      if (began) this.#options.listening()
      if (this.#fenced) {
        this.#fenced = false
        this.logger.info("the worker reaches its database again")
        this.#options.revived()
      }
      await this.#options.refresh()
      this.#expectedAt = performance.now() + every
      return every
    } catch (error) {
      this.logger.warn("a heartbeat could not be recorded", { error: error as Error })
      const pause = Math.min(every / 4, 1_000)
      this.#expectedAt = performance.now() + pause
      return pause
    }
  }

  #closedOut(version: number): void {
    if (this.#outdated) return
    this.#outdated = true
    const error = newer(this.#options.names, version)
    this.logger.error(`${error.message}. The worker drains and stops`, { error })
    this.#options.outdated()
  }

  /** Warns once of a blocked event loop: both timers find out. */
  #noticeLag(lagMs: number): void {
    const { leaseMs } = this.#options
    if (lagMs <= leaseMs / 2 || performance.now() - this.#warnedAt < leaseMs / 2) return
    this.#warnedAt = performance.now()
    const tasks = [...new Set([...[...this.#options.openRuns()].map((run) => run.task), ...this.#longRuns])]
    this.logger.warn(
      `the event loop was blocked for ${Math.round(lagMs)} ms, with a lease of ${this.#options.leaseMs} ms: a handler that computes for so long loses its job to another worker`,
      { tasks },
    )
  }
}

interface BeatRow {
  readonly cancelled: string[] | null
  readonly lost: number[] | null
  readonly versions: [version: number, min: number] | null
  readonly fleet: [place: number, others: number, nextLossMs: number | null]
}
