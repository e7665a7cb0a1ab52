/**
 * What must happen in time whatever the workers' own jobs: due jobs promoted, stale ones expired, those of dead workers rescued, old ones pruned.
 *
 * No leader: each duty is one bounded statement that several workers may run at once without harm (rows are shared out by SKIP LOCKED, or a row
 * lock lets one through). Time is the database's: one query says in how many milliseconds something falls due, and the worker sleeps that long.
 * A hint that something is due sooner shortens the sleep; a lost hint costs a poll.
 *
 * So that a hundred workers do not ask a hundred times, a worker's place among the live ones (which each beat tells) spaces its duties out: the first
 * is there in time, the second a moment later, and the others step in where a poll finds something late. Places may be wrong for a beat, and no harm is done.
 */
import { TuskError } from "../../api/errors.js"
import type { EventFeed } from "../../events/event-feed.js"
import { Aftermath, type Consequences, type ToldJob } from "../../jobs/consequences.js"
import { RetryPause } from "../../lib/retry-pause.js"
import { Service, type ServiceOptions } from "../../lib/service.js"
import { performance } from "../../lib/timers.js"
import type { Notifier } from "../../postgres/notify/wake.js"
import { isTransient } from "../../postgres/run/failure.js"
import type { Runner } from "../../postgres/run/pool.js"
import type { SchemaNames } from "../../postgres/statements/names.js"
import type { Statements } from "../../postgres/statements/statements.js"
import { fireDue } from "../../schedules/fire.js"

export interface DutiesOptions extends Omit<ServiceOptions, "name"> {
  readonly runner: Runner
  readonly statements: Statements
  readonly notifier: Notifier
  readonly events: EventFeed
  readonly names: SchemaNames
  readonly workerId: string
  /** The most that a rescue waits, by its worker's place, once another worker is lost. */
  readonly rescueWithinMs: number
  /** How often jobs whose worker has no row are looked for, by the first worker. */
  readonly orphansEveryMs: number
}

const BATCH = 500
const SCHEDULES_A_ROUND = 100
const BUSY_PAUSE_MS = 20
const PRUNE_EVERY_MS = 60_000
const PARTITIONS_EVERY_MS = 3_600_000
/** The second worker gives the first so long for what is due, and the others all. */
const SECOND_AFTER_MS = 100
const OTHERS_AFTER_MS = 250
/** Between two places, when a worker is lost. */
const RESCUE_STEP_MS = 250
/** What is done by the clock is done so many times more seldom at most, by those who come after the first. */
const MOST_SELDOM = 10

/** A duty, when it is due next, and its own pause after a failure: one that fails holds up no other. */
interface Duty {
  readonly name: string
  at: number
  readonly pause: RetryPause
  /** Returns the milliseconds until the next time. */
  readonly work: () => Promise<number>
}

export class Duties extends Service {
  readonly #options: DutiesOptions
  readonly #aftermath: Aftermath
  readonly #due: Duty = duty("promoting, expiring and firing", () => this.#runDue())
  readonly #duties: readonly Duty[] = [
    this.#due,
    duty("rescuing", () => this.#runRescue()),
    duty("pruning", async () => {
      const { runner, statements } = this.#options
      await runner.run({ ...statements.prune, values: [BATCH] })
      return this.#every(PRUNE_EVERY_MS)
    }),
    duty("keeping partitions", async () => {
      await this.#keepPartitions()
      // What a dropped day held can free nobody any more.
      const { runner, statements } = this.#options
      const [row] = await runner.run<Consequences & { gone_parents: number }>({ ...statements.abandon, values: [BATCH] })
      this.#aftermath.follow(row!)
      return row!.gone_parents === BATCH ? 0 : this.#every(PARTITIONS_EVERY_MS)
    }),
  ]
  readonly #rescuing = this.#duties[1]!
  #place = 0
  #orphansAt = 0

  constructor(options: DutiesOptions) {
    super({ ...options, name: "duties" })
    this.#options = options
    this.#aftermath = new Aftermath(options)
  }

  /** Something falls due in this many milliseconds, and this worker was notified of it. */
  hint(ms: number): void {
    this.#sooner(this.#due, ms)
  }

  /** A poll has found that this is what falls due next. */
  found(ms: number): void {
    if (this.#place <= 1) this.hint(Math.max(ms, 0) + this.#place * SECOND_AFTER_MS)
    else if (ms < -OTHERS_AFTER_MS) this.hint(0)
  }

  /** The worker's place among the live ones, from 0, and in how many milliseconds the next of the others is lost, unless it beats again. */
  fleet(place: number, nextLossMs: number | null): void {
    this.#place = place
    const wait =
      nextLossMs === null ? Number.POSITIVE_INFINITY : Math.max(nextLossMs, 0) + 10 + Math.min(place * RESCUE_STEP_MS, this.#options.rescueWithinMs)
    // Later than the last beat said, as long as the others beat.
    this.#rescuing.at = Math.min(this.#orphansAt, performance.now() + wait)
    this.wake()
  }

  #sooner(duty: Duty, ms: number): void {
    const at = performance.now() + ms
    if (at >= duty.at) return
    duty.at = at
    this.wake()
  }

  /** Of what the first worker does as often as this; a tenth more or less, so that workers that started together do not stay in step. */
  #every(ms: number): number {
    return ms * (0.9 + 0.2 * Math.random()) * Math.min(this.#place + 1, MOST_SELDOM)
  }

  protected override async onStart(): Promise<void> {
    // Without partitions no job can end: a worker that cannot make them must not begin.
    try {
      await this.#keepPartitions()
    } catch (error) {
      if (error instanceof TuskError) throw error
      const message = error instanceof Error ? error.message : String(error)
      throw new TuskError(
        "REFUSED",
        `The worker cannot begin: Postgres refuses the partitions of finished_jobs for the coming days: ${message}; let the owner of the schema create tables in it`,
        { cause: error },
      )
    }
    this.spawn(() => this.loop(() => this.#round()))
  }

  async #keepPartitions(): Promise<void> {
    const { runner, statements } = this.#options
    const [row] = await runner.run<{ kept: string[] | null }>(statements.partitions)
    if (row?.kept == null) return
    this.logger.warn("partitions of past days cannot be dropped: a transaction reads them, or an event trigger refuses it (see the server's log)", {
      partitions: row.kept,
    })
  }

  async #round(): Promise<number> {
    for (const duty of this.#duties) {
      if (performance.now() < duty.at) continue
      // A hint that comes while the statements run must not be overwritten by their older answer.
      duty.at = Number.POSITIVE_INFINITY
      let next: number
      try {
        next = await duty.work()
        duty.pause.reset()
      } catch (error) {
        if (this.signal.aborted) return 0
        next = duty.pause.next()
        this.logger[isTransient(error) ? "warn" : "error"](`${duty.name} failed and is tried again in ${next} ms`, { error: error as Error })
      }
      duty.at = Math.min(duty.at, performance.now() + next)
    }
    const next = Math.min(...this.#duties.map((duty) => duty.at))
    return Math.max(0, next - performance.now())
  }

  /** Promotes, expires and fires until nothing is late. */
  async #runDue(): Promise<number> {
    const { runner, statements } = this.#options
    for (;;) {
      const asked = performance.now()
      const [due] = await runner.run<DueRow>(statements.next_due)
      this.#options.events.seen(due?.subscribed === true)
      const next = Math.min(
        due?.delayed ?? Number.POSITIVE_INFINITY,
        due?.expiry ?? Number.POSITIVE_INFINITY,
        due?.schedule ?? Number.POSITIVE_INFINITY,
      )
      if (next > 0) return this.#place > 1 ? Number.POSITIVE_INFINITY : asked + next + this.#place * SECOND_AFTER_MS - performance.now()
      let failure: unknown
      let did = false
      for (const [late, work] of [
        [due?.delayed, () => this.#promote()],
        [due?.expiry, () => this.#expire()],
        [due?.schedule, () => this.#fire()],
      ] as const) {
        try {
          if (isLate(late) && (await work())) did = true
        } catch (error) {
          failure ??= error
        }
      }
      if (failure !== undefined) throw failure
      // Late, yet not ours to do: another worker holds the rows just now. Look again in a moment.
      if (!did) return BUSY_PAUSE_MS
    }
  }

  /** Each of these says whether it did something. */
  async #promote(): Promise<boolean> {
    const { runner, statements, notifier } = this.#options
    const lanes = await runner.run<{ queue: string; priority: number; seq: string }>({ ...statements.promote, values: [BATCH] })
    notifier.wake(lanes.map((l) => ({ queue: l.queue, priority: l.priority, seq: Number(l.seq) })))
    return lanes.length > 0
  }

  async #expire(): Promise<boolean> {
    const { runner, statements } = this.#options
    const [expired] = await runner.run<Consequences>({ ...statements.expire, values: [BATCH] })
    if (expired?.ended == null) return false
    this.#aftermath.follow(expired)
    return true
  }

  async #fire(): Promise<boolean> {
    const { runner, notifier, names } = this.#options
    const fired = await fireDue(runner, names, this.logger, SCHEDULES_A_ROUND)
    notifier.wake(fired.lanes, fired.dueMs)
    if (fired.failure !== undefined) throw fired.failure
    return fired.schedules > 0
  }

  async #runRescue(): Promise<number> {
    const orphans = performance.now() >= this.#orphansAt
    if (await this.#rescue(orphans)) return 0
    if (orphans) this.#orphansAt = performance.now() + this.#every(this.#options.orphansEveryMs)
    return this.#orphansAt - performance.now()
  }

  /** True when there may be more to take back. */
  async #rescue(orphans: boolean): Promise<boolean> {
    const { runner, statements, workerId } = this.#options
    const [row] = await runner.run<RescueRow>({ ...statements.rescue, values: [BATCH, orphans, workerId] })
    if (row?.workers == null) return false
    const { rescued, ended } = row
    this.logger.warn("jobs of workers that vanished were taken back", {
      workers: row.workers,
      jobs: rescued?.length ?? 0,
      ended: ended?.length ?? 0,
    })
    this.#aftermath.tell("job:stalled", rescued)
    this.#aftermath.follow(row)
    return (rescued?.length ?? 0) + (ended?.length ?? 0) >= BATCH
  }
}

function duty(name: string, work: () => Promise<number>): Duty {
  return { name, at: 0, pause: new RetryPause(), work }
}

interface DueRow {
  delayed: number | null
  expiry: number | null
  schedule: number | null
  subscribed: boolean
}

function isLate(ms: number | null | undefined): boolean {
  return ms != null && ms <= 0
}

interface RescueRow extends Consequences {
  readonly rescued: ToldJob[] | null
  readonly workers: string[] | null
}
