/** Stores the progress of runs: the latest of each, at most four times a second, in one statement. The last one leaves with the outcome. */
import type { EventFeed } from "../../events/event-feed.js"
import { Service, type ServiceOptions } from "../../lib/service.js"
import type { Runner } from "../../postgres/run/pool.js"
import type { Statements } from "../../postgres/statements/statements.js"
import type { Run } from "./run.js"

export interface ProgressOptions extends Omit<ServiceOptions, "name"> {
  readonly runner: Runner
  readonly statements: Statements
  readonly workerId: string
  readonly events: EventFeed
  /** Tells other processes of the latest progress of a run. */
  readonly tell: (run: Run) => void
}

const EVERY_MS = 250

export class Progress extends Service {
  readonly #options: ProgressOptions
  readonly #dirty = new Set<Run>()
  /** Nothing was there to store when it looked last: the next note may leave at once. */
  #idle = true

  constructor(options: ProgressOptions) {
    super({ ...options, name: "progress writer" })
    this.#options = options
  }

  note(run: Run): void {
    this.#dirty.add(run)
    if (this.#idle) this.wake()
    this.#idle = false
  }

  /** The settler takes it from here. */
  forget(run: Run): void {
    this.#dirty.delete(run)
  }

  protected override onStart(): void {
    this.spawn(() => this.loop(() => this.#step()))
  }

  async #step(): Promise<number> {
    const runs = [...this.#dirty]
    this.#idle = runs.length === 0
    if (this.#idle) return Number.POSITIVE_INFINITY
    this.#dirty.clear()
    const texts = runs.map((run) => run.unstoredProgress ?? null)
    try {
      const [row] = await this.#options.runner.run<{ subscribed: boolean }>({
        ...this.#options.statements.progress,
        values: [this.#options.workerId, runs.map((run) => run.id), runs.map((run) => run.row.lease), texts],
      })
      this.#options.events.seen(row?.subscribed === true)
      runs.forEach((run, i) => {
        this.#options.tell(run)
        if (run.unstoredProgress === texts[i]) run.unstoredProgress = undefined
      })
    } catch (error) {
      this.logger.debug("progress could not be stored", { error: error as Error })
      for (const run of runs) if (!run.decided) this.#dirty.add(run)
    }
    return EVERY_MS
  }
}
