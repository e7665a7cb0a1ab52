/** Connections for handlers in transactions. Jobs beyond their number wait for one, as long as it takes. */
import type pg from "pg"
import type { Logger } from "../../api/logger.js"
import { timeLimit } from "../../lib/timers.js"
import type { Connector } from "../../postgres/run/connector.js"
import { connectionError } from "../../postgres/run/failure.js"
import type { Runner } from "../../postgres/run/pool.js"
import { endPool } from "../../postgres/run/pool-end.js"
import type { Statements } from "../../postgres/statements/statements.js"
import { JobTransaction } from "./job-transaction.js"

export interface JobTransactionsOptions {
  readonly connector: Connector
  readonly runner: Runner
  readonly statements: Statements
  readonly logger: Logger
  /** Transactions at once. */
  readonly most: number
  readonly answerMs: number
}

const PURPOSE = "transactions"
const CLOSE_MS = 5_000

export class JobTransactions {
  readonly #options: JobTransactionsOptions
  #pool: pg.Pool | undefined
  #free: number
  #waiting: (() => void)[] = []

  constructor(options: JobTransactionsOptions) {
    this.#options = options
    this.#free = options.most
  }

  /** Opens the transaction of a job's run. */
  async begin(jobId: string): Promise<JobTransaction> {
    const { connector, most, answerMs, logger, statements } = this.#options
    // Before the pool is asked: what waits in there is given up after ten seconds.
    await this.#enter()
    this.#pool ??= connector.createPool(most, logger, PURPOSE)
    let client: pg.PoolClient
    try {
      client = await this.#pool.connect()
    } catch (error) {
      this.#leave()
      logger.warn("there is no connection for a job's transaction; it is tried again", { job: jobId, error: error as Error })
      throw connectionError(error, connector.target)
    }
    const release = (error: Error | undefined): void => {
      client.release(error)
      this.#leave()
    }
    const { target } = connector
    const transaction = new JobTransaction({ client, statements, jobId, target, answerMs, release, cutOff: (pid) => void this.#cutOff(pid) })
    await transaction.begin()
    return transaction
  }

  async close(within: (work: Promise<unknown>) => Promise<boolean> = timeLimit(CLOSE_MS)): Promise<void> {
    if (this.#pool !== undefined) await endPool(this.#pool, within)
  }

  async #enter(): Promise<void> {
    if (this.#free > 0) this.#free--
    else await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }

  #leave(): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#free++
    else next()
  }

  async #cutOff(pid: number): Promise<void> {
    const { connector, runner, logger } = this.#options
    try {
      // Only one of ours: behind a pooler the number may be another's.
      await runner.run({
        text: "select pg_terminate_backend(pid) from pg_stat_activity where pid = $1 and application_name = $2 and usename = current_user",
        values: [pid, connector.applicationName(PURPOSE)],
      })
    } catch (error) {
      logger.debug("a statement of an abandoned transaction could not be cut off; it ends by itself", { error: error as Error })
    }
  }
}
