/**
 * The transaction of a job with `transactional: true`: its handler's writes, the jobs that it enqueues, and its own completion commit together.
 *
 *   open --complete()--> committed   the completion is recorded, fenced, in the same transaction
 *                    \-> rolled back the lease is lost, or the job was cancelled meanwhile: nothing of the handler's remains
 *   open --abandon()--> rolled back  the handler threw, or its time is over
 *
 * The commit's answer may be lost. Then nobody knows; the caller asks to have the job released: if the commit went through the fence finds
 * nothing to release, and if not the job runs again, its effects gone with the transaction.
 */
import type pg from "pg"
import { NonRetryableError, TuskError } from "../../api/errors.js"
import type { Transaction } from "../../api/worker.js"
import { setImmediate } from "../../lib/timers.js"
import { connectionError, isConnectionLoss, isReadOnly } from "../../postgres/run/failure.js"
import { answered, END_WHEN_SILENT } from "../../postgres/run/pool.js"
import { beginOurs } from "../../postgres/run/session.js"
import { sqlStateOf } from "../../postgres/run/sqlstate.js"
import { executorOf, queryOurs } from "../../postgres/run/values.js"
import type { Statements } from "../../postgres/statements/statements.js"
import { ownTransactions } from "../../postgres/transactions/transaction.js"
import type { SettleRow } from "./outcome.js"

/** `again`: nobody knows, or it surely was rolled back, and by no fault of the handler's. */
export type CompletionVerdict = { readonly kind: "committed"; readonly row: SettleRow } | { readonly kind: "lost" | "cancelled" | "again" }

export interface JobTransactionOptions {
  readonly client: pg.PoolClient
  readonly statements: Statements
  readonly jobId: string
  /** Where the server is, for messages. */
  readonly target: string
  /** How long completion and commit may take. */
  readonly answerMs: number
  /** Gives the client back; with an error it is destroyed. */
  readonly release: (error: Error | undefined) => void
  /** Ends what the server still does for a client that is gone. */
  readonly cutOff: (pid: number) => void
}

export class JobTransaction {
  readonly tx: Transaction
  readonly #options: JobTransactionOptions
  readonly #client: pg.PoolClient
  /** Statements of the handler's, one after the other. */
  #queue: Promise<unknown> = Promise.resolve()
  #busy = false
  #open = true
  #dead: Error | undefined
  readonly #onError = (error: Error): void => {
    // The first says why; what follows it says no more than that the connection is gone.
    this.#dead ??= error
  }

  constructor(options: JobTransactionOptions) {
    this.#options = options
    this.#client = options.client
    this.#client.on("error", this.#onError)
    this.tx = {
      query: <T>(sql: string, params: readonly unknown[] = []) => {
        return this.#inTurn(() => this.#query<T>(async () => this.#client.query(sql, params as unknown[])))
      },
    }
    ownTransactions.set(this.tx, {
      query: <T>(sql: string, params: readonly unknown[]) => this.#inTurn(() => this.#query<T>(() => executorOf(this.#client).query(sql, params))),
    })
  }

  async begin(): Promise<void> {
    try {
      await this.#answered(this.#client.query(beginOurs()))
    } catch (error) {
      this.#close(error as Error)
      throw error
    }
  }

  /** Resolves when the statements that the handler has sent and not waited for are done. */
  async idle(): Promise<void> {
    await this.#queue
  }

  /** Records the completion and commits. An error of the settling statement itself is thrown, and everything is rolled back. */
  async complete(workerId: string, jobId: string, lease: string, result: string | null, progress: string | undefined): Promise<CompletionVerdict> {
    if (!this.#open) return { kind: "lost" }
    // From here on the handler's code, should any still run, has no part in it.
    this.#open = false
    let settled = false
    try {
      // What the server has said already, that it is closing the connection, say, and why, is read in this turn of the event loop.
      await new Promise((resolve) => setImmediate(resolve))
      this.#checkWhole()
      // Between completion and commit the job's row is locked. Without its name: behind a pooler in transaction mode that may be lost, and the error would abort the transaction.
      const settle = {
        text: `select s.*, ${END_WHEN_SILENT} from (${this.#options.statements.settle.text}) s`,
        values: [workerId, [jobId], [lease], ["completed"], null, [result], null, [progress ?? null]],
      }
      const row = (await this.#answered(queryOurs(this.#client, settle))).rows[0] as SettleRow
      settled = true
      if (row.cancelled !== null || row.settled !== null) {
        await this.#rollback()
        return { kind: row.cancelled !== null ? "cancelled" : "lost" }
      }
      await this.#answered(this.#client.query("commit"))
      this.#close(this.#dead)
      return { kind: "committed", row }
    } catch (error) {
      const lost = isConnectionLoss(error)
      if (lost || isReadOnly(error)) this.#close(error as Error)
      else await this.#rollback()
      // The server had cut it off for being idle for too long: that is the handler's.
      for (const cause of [this.#dead, error]) if (!settled && sqlStateOf(cause) === "25P03") throw cause
      if (lost || sqlStateOf(error) === "40P01") return { kind: "again" }
      throw sqlStateOf(error) === "25P02" ? this.#failedBefore(error) : error
    }
  }

  /** Rolls back. A statement of the handler's that still runs is cut off, with the connection. */
  abandon(): void {
    if (!this.#open) return
    this.#open = false
    if (!this.#busy && this.#dead === undefined) {
      void this.#rollback()
      return
    }
    // The server would go on with the statement, and hold its locks, until it has an answer to send.
    const pid: unknown = Reflect.get(this.#client, "processID")
    this.#close(this.#dead ?? new Error("abandoned"))
    if (typeof pid === "number") this.#options.cutOff(pid)
  }

  #inTurn<T>(send: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(send)
    this.#queue = result.catch(() => undefined)
    return result
  }

  async #query<T>(send: () => Promise<{ rows: any[]; rowCount: number | null }>): Promise<{ rows: T[]; rowCount: number | null }> {
    if (!this.#open) {
      throw new TuskError("TRANSACTION_ENDED", `The transaction of job ${this.#options.jobId} has ended: its run is over, or was aborted`)
    }
    this.#busy = true
    try {
      const { rows, rowCount } = await send()
      return { rows, rowCount }
    } catch (error) {
      // The server takes no writes: the next job must not get this connection.
      if (isReadOnly(error)) this.#dead ??= error as Error
      if (!isConnectionLoss(error)) throw error
      // The driver may know no more than that the connection is gone; what the server said before says why.
      const lost = connectionError(this.#dead ?? error, this.#options.target)
      lost.message = `The transaction of job ${this.#options.jobId} has lost its connection and is rolled back. ${lost.message}`
      throw lost
    } finally {
      this.#busy = false
    }
  }

  /** What the handler left behind must still be the transaction that it was given. */
  #checkWhole(): void {
    const status = this.#client.getTransactionStatus()
    if (this.#dead !== undefined || status === "T") return
    if (status === "E") throw this.#failedBefore()
    throw new NonRetryableError(
      `The handler of job ${this.#options.jobId} ended its transaction itself: what it committed stays, but its completion is no longer part of it. Leave commit and rollback to pgtusk; use savepoints inside`,
    )
  }

  #failedBefore(cause?: unknown): TuskError {
    return new TuskError(
      "TRANSACTION_ABORTED",
      `The transaction of job ${this.#options.jobId} cannot commit: one of its statements failed, its error was caught, and Postgres does not commit after that. Let the error pass, or run the statement inside a savepoint`,
      { cause },
    )
  }

  async #rollback(): Promise<void> {
    try {
      await this.#answered(this.#client.query("rollback"))
      this.#close(this.#dead)
    } catch (error) {
      this.#close(error as Error)
    }
  }

  /** A connection that is silent for longer is given up. */
  #answered<T>(query: Promise<T>): Promise<T> {
    return answered(query, this.#options.answerMs)
  }

  #close(broken: Error | undefined): void {
    this.#open = false
    this.#client.off("error", this.#onError)
    this.#options.release(broken)
  }
}
