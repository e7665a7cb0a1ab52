/**
 * Somebody says that jobs are cancelled, or gone: a notification, which anyone may send, or a heartbeat's answer. What has not started goes back, and its
 * end is recorded with that, if it is to end. About what runs the database is asked first, in one statement at a time, however many messages come.
 */
import { JobCancelledError } from "../../api/errors.js"
import type { Logger } from "../../api/logger.js"
import { SerialWork } from "../../lib/serial-work.js"
import { setTimeout } from "../../lib/timers.js"
import type { Runner } from "../../postgres/run/pool.js"
import type { Statements } from "../../postgres/statements/statements.js"
import type { QueueClaimer } from "../claim/claimer.js"
import type { Runs } from "./runs.js"

export interface CancellationsOptions {
  readonly logger: Logger
  readonly runner: Runner
  readonly statements: Statements
  readonly workerId: string
  readonly runs: Runs
  readonly claimers: ReadonlyMap<string, QueueClaimer>
}

/** A cancelled handler that goes on does not keep its job from ending, in milliseconds. */
const CANCEL_GRACE_MS = 1_000

export class Cancellations {
  readonly #options: CancellationsOptions
  #told = new Set<string>()
  readonly #asking = new SerialWork(() => this.#ask())

  constructor(options: CancellationsOptions) {
    this.#options = options
  }

  told(ids: readonly string[]): void {
    const { runs, claimers } = this.#options
    const set = new Set(ids)
    for (const claimer of claimers.values()) claimer.withdraw(set)
    for (const id of set) if (runs.find(id) !== undefined) this.#told.add(id)
    if (this.#told.size > 0) this.#asking.ask()
  }

  async #ask(): Promise<void> {
    const { runner, statements, workerId, runs, logger } = this.#options
    const mine = [...this.#told].flatMap((id) => runs.find(id) ?? [])
    this.#told = new Set()
    if (mine.length === 0) return
    try {
      const rows = await runner.run<{ id: string; reason: string; gone: boolean }>({
        ...statements.cancelled_runs,
        values: [mine.map((run) => run.id), mine.map((run) => run.row.lease), workerId],
      })
      for (const { id, reason, gone } of rows) {
        const run = mine.find((r) => r.id === id)
        if (run === undefined || run.decided) continue
        if (gone) {
          runs.lost([run], "it was removed, or another worker has it")
          continue
        }
        run.abort(new JobCancelledError(reason))
        setTimeout(() => run.decideNow(), CANCEL_GRACE_MS).unref()
      }
    } catch (error) {
      // The next heartbeat tells it again.
      logger.debug("a cancellation could not be read", { error: error as Error })
    }
  }
}
