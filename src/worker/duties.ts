/**
 * What must happen in time whatever the workers' own jobs: due jobs promoted, stale ones expired, those of dead workers rescued, old ones pruned.
 *
 * No leader: each duty is one bounded statement that several workers may run at once without harm (rows are shared out by SKIP LOCKED, or a row
 * lock lets one through). Time is the database's: one query says in how many milliseconds something falls due, and the worker sleeps that long.
 * A hint that something is due sooner shortens the sleep; a lost hint costs a poll.
 */

import { fireDue } from "../jobs/fire.js"
import type { SchemaNames } from "../postgres/names.js"
import type { Runner } from "../postgres/pool.js"
import type { Statements } from "../postgres/statements.js"
import { lanesOf, type Notifier } from "../postgres/wake.js"
import { Service, type ServiceOptions } from "../service.js"

/** A job that a duty ended or took back. */
export interface EndedJob {
  readonly id: string
  readonly queue: string
  readonly task: string
}

export interface DutiesOptions extends Omit<ServiceOptions, "name"> {
  readonly runner: Runner
  readonly statements: Statements
  readonly notifier: Notifier
  readonly names: SchemaNames
  /** The floor under hints, in milliseconds. */
  readonly pollMs: number
  readonly rescueEveryMs: number
  readonly ended: (jobs: readonly EndedJob[], how: "expired" | "failed" | "stalled") => void
}

const BATCH = 500
const SCHEDULES_A_ROUND = 100
const BUSY_PAUSE_MS = 20
const PRUNE_EVERY_MS = 60_000
const ORPHANS_EVERY_MS = 60_000
const PARTITIONS_EVERY_MS = 3_600_000

export class Duties extends Service {
  readonly #options: DutiesOptions
  #dueAt = 0
  #rescueAt = 0
  #orphansAt = 0
  #pruneAt = 0
  #partitionsAt = 0

  constructor(options: DutiesOptions) {
    super({ ...options, name: "duties" })
    this.#options = options
  }

  /** Something falls due in this many milliseconds. */
  hint(ms: number): void {
    const at = performance.now() + ms
    if (at < this.#dueAt) {
      this.#dueAt = at
      this.wake()
    }
  }

  protected override async onStart(): Promise<void> {
    await this.#options.runner.run(this.#options.statements.partitions)
    const now = performance.now()
    // Workers that start together spread their rounds.
    this.#partitionsAt = now + PARTITIONS_EVERY_MS * (0.5 + Math.random())
    this.#pruneAt = now + PRUNE_EVERY_MS * Math.random()
    this.spawn(() => this.loop(() => this.#round()))
  }

  async #round(): Promise<number> {
    const { runner, statements, pollMs } = this.#options
    if (performance.now() >= this.#dueAt) await this.#runDue()
    if (performance.now() >= this.#rescueAt) {
      const orphans = performance.now() >= this.#orphansAt
      const more = await this.#rescue(orphans)
      if (orphans && !more) this.#orphansAt = performance.now() + ORPHANS_EVERY_MS
      this.#rescueAt = more ? 0 : performance.now() + this.#options.rescueEveryMs * (0.9 + 0.2 * Math.random())
    }
    if (performance.now() >= this.#pruneAt) {
      await runner.run({ ...statements.prune, values: [BATCH] })
      this.#pruneAt = performance.now() + PRUNE_EVERY_MS * (0.9 + 0.2 * Math.random())
    }
    if (performance.now() >= this.#partitionsAt) {
      await runner.run(statements.partitions)
      this.#partitionsAt = performance.now() + PARTITIONS_EVERY_MS
    }
    const next = Math.min(this.#dueAt, this.#rescueAt, this.#pruneAt, this.#partitionsAt, performance.now() + pollMs)
    return Math.max(0, next - performance.now())
  }

  /** Promotes, expires and fires until nothing is late, then notes when the next thing is due. */
  async #runDue(): Promise<void> {
    const { runner, statements, pollMs } = this.#options
    // A hint that comes while the statements run must not be overwritten by their older answer.
    this.#dueAt = Number.POSITIVE_INFINITY
    for (;;) {
      const asked = performance.now()
      const [due] = await runner.run<DueRow>(statements.next_due)
      const next = Math.min(
        due?.delayed ?? Number.POSITIVE_INFINITY,
        due?.expiry ?? Number.POSITIVE_INFINITY,
        due?.schedule ?? Number.POSITIVE_INFINITY,
      )
      if (next > 0) {
        this.#dueAt = Math.min(this.#dueAt, asked + Math.min(next, pollMs * (0.9 + 0.2 * Math.random())))
        return
      }
      const promoted = isLate(due?.delayed) && (await this.#promote())
      const expired = isLate(due?.expiry) && (await this.#expire())
      const fired = isLate(due?.schedule) && (await this.#fire())
      if (!promoted && !expired && !fired) {
        // Late, yet not ours to do: another worker holds the rows just now. Look again in a moment.
        this.#dueAt = Math.min(this.#dueAt, performance.now() + BUSY_PAUSE_MS)
        return
      }
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
    const [expired] = await runner.run<EndRow & { ended: EndedJob[] | null }>({ ...statements.expire, values: [BATCH] })
    if (expired?.ended == null) return false
    this.#options.ended(expired.ended, "expired")
    this.#follow(expired)
    return true
  }

  async #fire(): Promise<boolean> {
    const { runner, notifier, names } = this.#options
    const fired = await fireDue(runner, names, this.logger, SCHEDULES_A_ROUND)
    notifier.wake(fired.lanes, fired.dueMs)
    return fired.schedules > 0
  }

  /** True when there may be more to take back. */
  async #rescue(orphans: boolean): Promise<boolean> {
    const { runner, statements } = this.#options
    const [row] = await runner.run<EndRow & { rescued: EndedJob[] | null; failed: EndedJob[] | null; workers: string[] | null }>({
      ...statements.rescue,
      values: [BATCH, orphans],
    })
    if (row?.workers == null) return false
    this.logger.warn("jobs of workers that vanished were taken back", {
      workers: row.workers,
      jobs: row.rescued?.length ?? 0,
      failed: row.failed?.length ?? 0,
    })
    if (row.rescued !== null && row.rescued.length > 0) this.#options.ended(row.rescued, "stalled")
    if (row.failed !== null && row.failed.length > 0) this.#options.ended(row.failed, "failed")
    this.#follow(row)
    return (row.rescued?.length ?? 0) + (row.failed?.length ?? 0) >= BATCH
  }

  #follow(row: EndRow): void {
    if (row.lanes !== null || row.due_ms !== null) this.#options.notifier.wake(lanesOf(row.lanes), row.due_ms)
    if (row.watched !== null) this.#options.notifier.ended(row.watched)
  }
}

interface EndRow {
  lanes: unknown
  due_ms: number | null
  watched: string[] | null
}

interface DueRow {
  delayed: number | null
  expiry: number | null
  schedule: number | null
}

function isLate(ms: number | null | undefined): boolean {
  return ms != null && ms <= 0
}
