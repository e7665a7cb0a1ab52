/** The children's way to the ledger: through the same faulty network as all they do. */
import pg from "pg"
import { currentJob } from "../../../src/index.js"

export const book: pg.Pool = new pg.Pool({
  connectionString: process.env["DATABASE_URL"]!,
  application_name: "ledger",
  max: 8,
  keepAlive: true,
  connectionTimeoutMillis: 3_000,
  query_timeout: 3_000,
  idleTimeoutMillis: 2_000,
})
book.on("connect", (client) => client.on("error", () => undefined))
book.on("error", () => undefined)

const EFFECT = "insert into ledger.effects (job, token, attempt, fence, kind, pid) values ($1, $2, $3, $4, $5, $6)"

/** The effect of the running job; what cannot be written is the run's failure, as in any application. */
export async function effect(token: string): Promise<void> {
  await book.query(EFFECT, effectOf(token, "plain"))
}

/** The same in the job's transaction. */
export async function effectInTransaction(token: string): Promise<void> {
  await currentJob().tx.query(EFFECT, effectOf(token, "tx"))
}

function effectOf(token: string, kind: "plain" | "tx"): unknown[] {
  const job = currentJob()
  return [job.id, token, job.attempt, job.fence, kind, process.pid]
}

/** Written for certain, however long it takes. The statement may be sent twice. */
export async function note(text: string, values: readonly unknown[]): Promise<void> {
  for (;;) {
    try {
      await book.query(text, values as unknown[])
      return
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
}
