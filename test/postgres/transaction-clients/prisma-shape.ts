/**
 * Prisma's raw-query surface over a client of pg: what Prisma 6 does there was read off the real one (its generated client needs a build step).
 * Unknown properties are undefined, rows are plain objects, errors are Prisma's wrappers.
 */
import pg from "pg"

export class PrismaClientKnownRequestError extends Error {
  readonly clientVersion = "6.19.3"
  readonly code: string
  readonly meta: Record<string, unknown>
  constructor(message: string, code: string, meta: Record<string, unknown>) {
    super(message)
    this.name = "PrismaClientKnownRequestError"
    this.code = code
    this.meta = meta
  }
}

interface PrismaTransactionClient {
  $queryRawUnsafe<T = unknown>(query: string, ...values: unknown[]): Promise<T>
  $executeRawUnsafe(query: string, ...values: unknown[]): Promise<number>
}

export interface PrismaShape extends PrismaTransactionClient {
  $transaction<R>(work: (tx: PrismaTransactionClient) => Promise<R>): Promise<R>
  $disconnect(): Promise<void>
}

export function prismaShape(url: string): PrismaShape {
  const pool = new pg.Pool({ connectionString: url, max: 2 })

  function clientOver(run: (query: string, values: unknown[]) => Promise<pg.QueryResult>): PrismaTransactionClient {
    const invoke = async (query: string, values: unknown[]): Promise<pg.QueryResult> => {
      try {
        return await run(query, values)
      } catch (error) {
        if (!(error instanceof pg.DatabaseError)) throw error
        const cause = { originalCode: error.code, originalMessage: error.message, kind: "postgres", code: error.code, message: error.message }
        throw new PrismaClientKnownRequestError(`Raw query failed. Code: \`${error.code}\`. Message: \`${error.message}\``, "P2010", {
          driverAdapterError: Object.assign(new Error(error.message), { name: "DriverAdapterError", cause }),
        })
      }
    }
    return {
      $queryRawUnsafe: async (query: string, ...values: unknown[]) => (await invoke(query, values)).rows as any,
      $executeRawUnsafe: async (query: string, ...values: unknown[]) => (await invoke(query, values)).rowCount ?? 0,
    }
  }

  async function transaction<R>(work: (tx: PrismaTransactionClient) => Promise<R>): Promise<R> {
    const client = await pool.connect()
    let ended: "committed" | "rolled back" | undefined
    const tx = clientOver((query, values) => {
      if (ended === undefined) return client.query(query, values)
      const message = `Transaction API error: Transaction already closed: A query cannot be executed on a ${ended} transaction.`
      return Promise.reject(new PrismaClientKnownRequestError(message, "P2028", {}))
    })
    try {
      await client.query("begin")
      const result = await work(tx)
      await client.query("commit")
      ended = "committed"
      return result
    } catch (error) {
      await client.query("rollback")
      ended = "rolled back"
      throw error
    } finally {
      client.release()
    }
  }

  return { ...clientOver((query, values) => pool.query(query, values)), $transaction: transaction, $disconnect: () => pool.end() }
}
