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
import { TuskError } from "../errors.js"
import { isConnectionLoss } from "../postgres/failure.js"
import type { Statements } from "../postgres/statements.js"
import type { SettleRow } from "./settler.js"
import type { Transaction } from "./types.js"

export type CompletionVerdict = { readonly kind: "committed"; readonly row: SettleRow } | { readonly kind: "lost" | "cancelled" | "unknown" }

export class JobTransaction {
  readonly tx: Transaction
  readonly #client: pg.PoolClient
  readonly #statements: Statements
  #open = true
  #dead: Error | undefined
  readonly #onError = (error: Error): void => {
    this.#dead = error
  }

  private constructor(client: pg.PoolClient, statements: Statements, jobId: string) {
    this.#client = client
    this.#statements = statements
    client.on("error", this.#onError)
    this.tx = {
      query: async (sql, params = []) => {
        if (!this.#open) throw new TuskError("TRANSACTION_ENDED", `The transaction of job ${jobId} has ended: its run is over, or was aborted`)
        const { rows, rowCount } = await client.query(sql, params as unknown[])
        return { rows, rowCount }
      },
    }
  }

  static async begin(pool: pg.Pool, statements: Statements, jobId: string): Promise<JobTransaction> {
    const client = await pool.connect()
    const transaction = new JobTransaction(client, statements, jobId)
    try {
      await client.query("begin isolation level read committed")
    } catch (error) {
      transaction.#close(error as Error)
      throw error
    }
    return transaction
  }

  /** Records the completion and commits. An error of the settling statement itself is thrown, and everything is rolled back. */
  async complete(workerId: string, jobId: string, lease: string, result: string | null, progress: string | undefined): Promise<CompletionVerdict> {
    if (!this.#open) return { kind: "lost" }
    // From here on the handler's code, should any still run, has no part in it.
    this.#open = false
    let committing = false
    try {
      const settle = { ...this.#statements.settle, values: [workerId, [jobId], [lease], ["completed"], null, [result], null, [progress ?? null]] }
      const row = (await this.#client.query<SettleRow>(settle)).rows[0]!
      if (row.cancelled !== null || row.settled !== null) {
        await this.#rollback()
        return { kind: row.cancelled !== null ? "cancelled" : "lost" }
      }
      committing = true
      await this.#client.query("commit")
      this.#close(this.#dead)
      return { kind: "committed", row }
    } catch (error) {
      if (isConnectionLoss(error)) {
        this.#close(error as Error)
        if (committing) return { kind: "unknown" }
      } else await this.#rollback()
      throw error
    }
  }

  /** Rolls back. A statement of the handler's that still runs is cut off with the connection. */
  abandon(): void {
    if (!this.#open) return
    this.#open = false
    this.#close(new Error("abandoned"))
  }

  async #rollback(): Promise<void> {
    try {
      await this.#client.query("rollback")
      this.#close(this.#dead)
    } catch (error) {
      this.#close(error as Error)
    }
  }

  #close(broken: Error | undefined): void {
    this.#open = false
    this.#client.off("error", this.#onError)
    // The client may emit a late error on its way out.
    if (broken !== undefined) this.#client.on("error", () => undefined)
    this.#client.release(broken)
  }
}
