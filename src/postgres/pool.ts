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
   * Several statements in one transaction. Rejects with what `work` rejects with, as it is; and when a statement failed whose error `work` kept to
   * itself: Postgres then rolls back whatever is asked of it. A connection lost during the commit is a ConnectionError whose outcome is `unknown`.
   */
  async transaction<T>(work: (client: TransactionClient) => Promise<T>): Promise<T> {
    const client = await this.#checkOut()
    let dead: Error | undefined
    const onError = (error: Error): void => {
      dead ??= error
    }
    client.on("error", onError)
    const send = async (statement: string | pg.QueryConfig, values: unknown[] | undefined, committing = false): Promise<pg.QueryResult<any>> => {
      try {
        return await (values === undefined ? client.query(statement) : client.query(statement, values))
      } catch (error) {
        if (!isConnectionLoss(error)) throw error
        dead ??= error as Error
        const lost = connectionError(error, this.target)
        if (!committing) throw lost
        throw new ConnectionError(
          `${lost.message}. Whether the transaction was committed is unknown: the connection was lost before the answer came`,
          {
            cause: error,
            unknown: true,
          },
        )
      }
    }
    try {
      await send("begin isolation level read committed", undefined)
      const result = await work({ query: (statement, values) => send(statement, values) })
      const { command } = await send("commit", undefined, true)
      if (command !== "COMMIT") throw new TransactionAbortedError()
      return result
    } catch (error) {
      if (dead === undefined) await send("rollback", undefined).catch(() => undefined)
      throw error
    } finally {
      release(client, onError, dead)
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
      release(client, onError, dead)
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

/** A client in a transaction of `Runner.transaction`. */
export interface TransactionClient {
  query<R extends pg.QueryResultRow = any>(statement: string | pg.QueryConfig, values?: unknown[]): Promise<pg.QueryResult<R>>
}

/** Gives the client back to its pool, which ends one that is dead. */
function release(client: pg.PoolClient, onError: (error: Error) => void, dead: Error | undefined): void {
  client.off("error", onError)
  // Its socket may have more to say on its way out, and nobody else listens.
  if (dead !== undefined) client.on("error", () => undefined)
  client.release(dead)
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
