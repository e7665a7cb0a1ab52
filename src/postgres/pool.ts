import { inspect } from "node:util"
import pg from "pg"
import { ConnectionError, InvalidOptionError, TuskError } from "../errors.js"
import type { Logger } from "../logger.js"
import type { Executor } from "./executor.js"
import { connectionError, isConnectionLoss, isNeverSent } from "./failure.js"
import { sqlStateOf } from "./sqlstate.js"
import type { PoolLike } from "./types.js"

/** The transaction could not commit: one of its statements had failed, and whoever ran it caught the error and went on. */
class TransactionAbortedError extends TuskError {
  constructor() {
    super(
      "TRANSACTION_ABORTED",
      "The transaction was rolled back: one of its statements failed, its error was caught, and Postgres does not commit after that. Let the error pass, or run the statement inside a savepoint",
    )
  }
}

export type ConnectionConfig = pg.ClientConfig

/**
 * Reads a connection string; a wrong one is an error here, not at the first query. Errors never show its password, nor carry a cause that does.
 *
 * @throws InvalidOptionError
 */
export function parseConnectionString(text: string, field = "connectionString"): ConnectionConfig {
  const given: unknown = text
  if (typeof given !== "string") throw new InvalidOptionError(`${field} is ${inspect(given, { depth: 0 })}; write a string, ${EXAMPLE}`)
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(text) || !URL.canParse(text)) {
    throw new InvalidOptionError(`${field} is ${JSON.stringify(withoutSecrets(text))}, which is no URL; write ${EXAMPLE}, ${ENCODING}`)
  }
  const { protocol } = new URL(text)
  if (protocol !== "postgres:" && protocol !== "postgresql:") {
    throw new InvalidOptionError(`${field} begins with "${protocol}//"; write ${EXAMPLE}`)
  }
  try {
    // It connects to nothing, but reads it all: percent signs, and files with certificates.
    new pg.Client({ connectionString: text })
  } catch (error) {
    const problem = error instanceof URIError ? `has a % that encodes nothing; ${ENCODING}` : `cannot be used: ${(error as Error).message}`
    throw new InvalidOptionError(`${field} ${JSON.stringify(withoutSecrets(text))} ${problem}`)
  }
  return { connectionString: text }
}
const EXAMPLE = '"postgres://user:password@host:5432/database"'
const ENCODING = "with user and password percent-encoded by encodeURIComponent()"

function withoutSecrets(text: string): string {
  return text.replace(/\/\/.*@/, "//***@").replace(/(password\s*=\s*)[^\s&]+/gi, "$1***")
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

  /**
   * Several statements in one transaction. Rejects with what `work` rejects with, and when a statement failed whose error `work` kept to itself:
   * Postgres then rolls back whatever is asked of it. A connection lost during the commit is a ConnectionError whose outcome is `unknown`.
   */
  async transaction<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    const client = await this.#checkOut()
    let failed: Error | undefined
    let committing = false
    const onError = (error: Error): void => {
      failed = error
    }
    client.on("error", onError)
    try {
      await client.query("begin isolation level read committed")
      const result = await work(client)
      committing = true
      const { command } = await client.query("commit")
      if (command === "COMMIT") return result
      committing = false
      throw new TransactionAbortedError()
    } catch (error) {
      if (failed === undefined && !isConnectionLoss(error)) await client.query("rollback").catch((e: Error) => (failed = e))
      else failed ??= error as Error
      throw this.#translated(error, committing)
    } finally {
      client.off("error", onError)
      client.release(failed)
    }
  }

  async #checkOut(): Promise<pg.PoolClient> {
    try {
      return await this.pool.connect()
    } catch (error) {
      throw error instanceof ConnectionError ? error : connectionError(error, this.target)
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
      throw this.#translated(error, !isNeverSent(error))
    } finally {
      clearTimeout(timer)
      client.off("error", onError)
      client.release(dead)
    }
  }

  /** `sent`: what failed may have taken effect before its connection was lost. */
  #translated(error: unknown, sent: boolean): unknown {
    if (error instanceof TuskError) return error
    if (isConnectionLoss(error)) return connectionError(error, this.target, sent)
    if (sqlStateOf(error) === "42501") return connectionError(error, this.target)
    return error
  }
}

/** Single statements on a runner, for what takes an executor. */
export function executorOn(runner: Runner): Executor {
  return {
    async query<T>(text: string, params: readonly unknown[]) {
      const rows = await runner.run<T>({ text, values: params })
      return { rows, rowCount: rows.length }
    },
  }
}
