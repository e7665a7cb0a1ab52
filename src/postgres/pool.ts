import pg from "pg"
import { ConnectionError, InvalidOptionError } from "../errors.js"
import type { Logger } from "../logger.js"
import { connectionError, isConnectionLoss } from "./failure.js"
import { sqlStateOf } from "./sqlstate.js"

/** What we need of `pg.Pool`, so that our types do not depend on `@types/pg`. */
export interface PoolLike {
  connect(): Promise<any>
  query(...args: any[]): Promise<any>
  end(): Promise<void>
  on(event: any, listener: any): any
  readonly options: any
}

export type ConnectionConfig = pg.ClientConfig

/** Reads a connection string; a wrong one is an error here, not at the first query. */
export function parseConnectionString(text: string, field = "connectionString"): ConnectionConfig {
  let url: URL
  try {
    url = new URL(text)
  } catch (cause) {
    throw new InvalidOptionError(`${field} is ${describe(text)}, which is no URL; write "postgres://user:password@host:5432/database"`, { cause })
  }
  if (url.protocol !== "postgres:" && url.protocol !== "postgresql:") {
    throw new InvalidOptionError(`${field} begins with "${url.protocol}//"; write "postgres://user:password@host:5432/database"`)
  }
  return { connectionString: text }
}

function describe(text: unknown): string {
  return typeof text === "string" ? JSON.stringify(text.replace(/:[^:@/]*@/, ":***@")) : String(text)
}

/** Host, port and database, without secrets, for messages. */
export function targetOf(config: ConnectionConfig): string {
  const client = new pg.Client(config)
  return `${client.host}:${client.port}/${client.database ?? ""}`
}

/** A pool of our own. Its transactions are READ COMMITTED whatever the database's default: the protocols are reasoned for that. */
export function createPool(config: ConnectionConfig, max: number, logger: Logger, purpose: string): pg.Pool {
  const pool = new pg.Pool({
    ...config,
    max,
    keepAlive: true,
    connectionTimeoutMillis: 10_000,
    idleTimeoutMillis: 60_000,
    application_name: `pgtusk ${purpose}`,
    allowExitOnIdle: false,
  })
  pool.on("connect", (client) => {
    client.query("set session characteristics as transaction isolation level read committed").catch(() => {})
  })
  pool.on("error", (error) => logger.debug("an idle connection was lost", { error }))
  return pool
}

export interface Query {
  readonly name?: string
  readonly text: string
  readonly values?: readonly unknown[]
  readonly rowMode?: "array"
  readonly types?: { getTypeParser: (...args: any[]) => any }
}

/**
 * Runs single statements on a pool, each bounded in time: a connection that does not answer (a half-open socket) is destroyed instead of waited
 * for. Errors of the connection come as ConnectionError, those of the statement as they are.
 */
export class Runner {
  readonly pool: PoolLike
  readonly target: string
  readonly #timeoutMs: number
  constructor(pool: PoolLike, target: string, timeoutMs = 30_000) {
    this.pool = pool
    this.target = target
    this.#timeoutMs = timeoutMs
  }

  async run<T = any>(query: Query, timeoutMs: number = this.#timeoutMs): Promise<T[]> {
    const client = await this.#checkOut()
    return this.#bounded(client, () => client.query(query as pg.QueryConfig), timeoutMs)
  }

  /** Several statements in one transaction. */
  async transaction<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    const client = await this.#checkOut()
    let failed: Error | undefined
    const onError = (error: Error): void => {
      failed = error
    }
    client.on("error", onError)
    try {
      await client.query("begin isolation level read committed")
      const result = await work(client)
      await client.query("commit")
      return result
    } catch (error) {
      if (failed === undefined && !isConnectionLoss(error)) await client.query("rollback").catch((e: Error) => (failed = e))
      else failed ??= error as Error
      throw this.#translated(error)
    } finally {
      client.off("error", onError)
      client.release(failed)
    }
  }

  async #checkOut(): Promise<pg.PoolClient> {
    try {
      return await this.pool.connect()
    } catch (error) {
      throw this.#translated(error, true)
    }
  }

  async #bounded(client: pg.PoolClient, work: () => Promise<pg.QueryResult>, timeoutMs: number): Promise<any> {
    let timer: NodeJS.Timeout | undefined
    let dead: Error | undefined
    // A checked-out client emits its own errors; without a listener they would end the process.
    const onError = (error: Error): void => {
      dead = error
    }
    client.on("error", onError)
    try {
      const expired = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new Error(`Postgres did not answer within ${timeoutMs} ms`)), timeoutMs)
      })
      return (await Promise.race([work(), expired])).rows
    } catch (error) {
      if (isConnectionLoss(error)) dead ??= error as Error
      throw this.#translated(error)
    } finally {
      clearTimeout(timer)
      client.off("error", onError)
      client.release(dead)
    }
  }

  #translated(error: unknown, connecting = false): unknown {
    if (error instanceof ConnectionError) return error
    if (connecting || isConnectionLoss(error)) return connectionError(error, this.target)
    if (sqlStateOf(error) === "42501") return connectionError(error, this.target)
    return error
  }
}
