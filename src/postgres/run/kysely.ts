import {
  type CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  Kysely,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  type QueryResult,
} from "kysely"
import type { DB } from "../statements/schema.js"
import type { Executor } from "./executor.js"

/** Kysely over one connection or transaction that is somebody else's: it begins, commits and closes nothing. */
export function kyselyOver(executor: Executor, adapter: () => PostgresAdapter = () => new PostgresAdapter()): Kysely<DB> {
  const connection: DatabaseConnection = {
    async executeQuery<R>(query: CompiledQuery): Promise<QueryResult<R>> {
      const { rows, rowCount } = await executor.query<R & Record<string, unknown>>(query.sql, query.parameters)
      return { rows, ...(rowCount === null ? {} : { numAffectedRows: BigInt(rowCount) }) }
    },
    // biome-ignore lint/correctness/useYield: the interface asks for a generator; streaming is never used here.
    async *streamQuery() {
      throw new Error("Streaming is not supported")
    },
  }
  const driver: Driver = {
    init: async () => {},
    acquireConnection: async () => connection,
    beginTransaction: async () => {},
    commitTransaction: async () => {},
    rollbackTransaction: async () => {},
    releaseConnection: async () => {},
    destroy: async () => {},
  }
  const dialect: Dialect = {
    createAdapter: adapter,
    createDriver: () => driver,
    createIntrospector: (db) => new PostgresIntrospector(db),
    createQueryCompiler: () => new PostgresQueryCompiler(),
  }
  return new Kysely<DB>({ dialect })
}
