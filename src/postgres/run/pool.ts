import type pg from "pg"
import type { PoolLike } from "../../api/client.js"
import { ConnectionError, TuskError } from "../../api/errors.js"
import { quietLogger } from "../../api/logger.js"
import { outside } from "../../lib/async-context.js"
import { clearTimeout, performance, setTimeout } from "../../lib/timers.js"
import type { Executor } from "./executor.js"
import { connectionError, isAboutValues, isConnectionLoss, isNeverSent, isNotOfTheCaller, isReadOnly, refusedByRule } from "./failure.js"
import { ASK_SETTINGS, beginOurs, needsOf, type SessionNeeds } from "./session.js"
import { sqlStateOf } from "./sqlstate.js"
import { StatementNames } from "./statement-names.js"
import { queryOurs, type TypeParsers } from "./values.js"

/** The transaction could not commit: one of its statements had failed, and whoever ran it caught the error and went on. */
class TransactionAbortedError extends TuskError {
  constructor() {
    super(
      "TRANSACTION_ABORTED",
      "The transaction was rolled back: one of its statements failed, its error was caught, and Postgres does not commit after that. Let the error pass, or run the statement inside a savepoint",
    )
  }
}

export interface Query {
  readonly name?: string
  readonly text: string
  readonly values?: readonly unknown[]
  /** Sent instead where the statement needs a transaction around it: this one commits by itself. */
  readonly inTransaction?: Query
  readonly rowMode?: "array"
  /** Default: the table of values.ts. */
  readonly types?: TypeParsers
}

/** For a statement that nobody gave less time. */
const ANSWER_MS = 30_000

/**
 * Part of a select list: should this host vanish with the transaction open, the server ends it, and frees its rows, after this time and not when TCP
 * gives up. For that transaction alone.
 */
export const END_WHEN_SILENT = "pg_catalog.set_config('idle_in_transaction_session_timeout', '10s', true)"

/**
 * Runs single statements on a pool, each bounded in time: a connection that does not answer (a half-open socket) is destroyed instead of waited
 * for. Errors of the connection and of the server come as ConnectionError, those of the values in a statement as they are.
 *
 * All are READ COMMITTED, for which the protocols are reasoned, and mean what they say: where a session's settings are others (session.ts), a single
 * statement gets a transaction that sets them.
 */
export class Runner {
  readonly pool: PoolLike
  readonly target: string
  readonly #names: StatementNames
  /** What each connection's session needs, once it was asked. */
  readonly #needs = new WeakMap<object, SessionNeeds>()
  /** How often a server has refused to write, and how often it had when a connection was first used. */
  #refusals = 0
  readonly #refusalsBefore = new WeakMap<object, number>()

  readonly #answerMs: number

  /**
   * `names`: what is known of named statements; runners on the way to one server share it. `answerMs`: how long a statement may take that says
   * nothing else.
   */
  constructor(pool: PoolLike, target: string, names: StatementNames = new StatementNames(quietLogger), answerMs: number = ANSWER_MS) {
    this.pool = pool
    this.target = target
    this.#names = names
    this.#answerMs = answerMs
  }

  async run<T = any>(query: Query, timeoutMs: number = this.#answerMs): Promise<T[]> {
    const client = await this.#checkOut()
    return this.#bounded(client, () => this.#send(client, query), timeoutMs)
  }

  /**
   * Several statements in one transaction. Rejects with what `work` rejects with, as it is; and when a statement failed whose error `work` kept to
   * itself: Postgres then rolls back whatever is asked of it. A connection lost during the commit is a ConnectionError whose outcome is `unknown`.
   * An application's statements may take as long as they like.
   */
  transaction<T>(work: (client: TransactionClient) => Promise<T>): Promise<T> {
    return this.#transact(work, undefined)
  }

  /** The same for statements of ours, each of which must be answered in time. */
  shortTransaction<T>(work: (client: TransactionClient) => Promise<T>): Promise<T> {
    return this.#transact(work, this.#answerMs)
  }

  async #transact<T>(work: (client: TransactionClient) => Promise<T>, answerMs: number | undefined): Promise<T> {
    const client = await this.#checkOut()
    let dead: Error | undefined
    const onError = (error: Error): void => {
      dead ??= error
    }
    client.on("error", onError)
    const send = async (
      statement: string | pg.QueryConfig,
      values: unknown[] | undefined,
      part?: "begin" | "commit",
    ): Promise<pg.QueryResult<any>> => {
      try {
        // A bare text is the application's where it has no time limit, and answered as its driver is set; an object is ours.
        const ours = answerMs !== undefined || typeof statement !== "string"
        if (!ours) return await (values === undefined ? client.query(statement) : client.query(statement, values))
        const query = typeof statement === "string" ? { text: statement } : (statement as Query)
        const answer = queryOurs(client, values === undefined ? query : { ...query, values })
        return await (answerMs === undefined ? answer : answered(answer, answerMs))
      } catch (error) {
        if (isReadOnly(error)) {
          dead ??= this.#refusedToWrite(error)
          if (answerMs !== undefined) throw connectionError(error, this.target)
        }
        // Of statements of ours: an application's own errors are its own.
        if (answerMs !== undefined && isOfTheServer(error)) throw connectionError(error, this.target)
        if (answerMs !== undefined && !isConnectionLoss(error)) throw this.refused(error)
        // Its BEGIN and COMMIT are ours.
        if (part !== undefined && isNotOfTheCaller(error)) throw connectionError(error, this.target)
        if (!isConnectionLoss(error)) throw error
        dead ??= error as Error
        const lost = connectionError(dead, this.target)
        if (part !== "commit") throw lost
        throw new ConnectionError(
          `${lost.message}. Whether the transaction was committed is unknown: the connection was lost before the answer came`,
          {
            cause: dead,
            unknown: true,
          },
        )
      }
    }
    try {
      const needs = answerMs === undefined ? undefined : await this.#needsOf(client, (text) => send(text, undefined))
      await send(beginOurs(needs), undefined, "begin")
      const result = await work({ query: (statement, values) => send(statement, values) })
      const { command } = await send("commit", undefined, "commit")
      if (command !== "COMMIT") throw new TransactionAbortedError()
      return result
    } catch (error) {
      if (dead === undefined) await send("rollback", undefined).catch(() => undefined)
      throw error
    } finally {
      release(client, onError, dead)
    }
  }

  /** A connection from before the last refusal leads to the same server, most likely: it is closed, and the next one asked for. */
  async #checkOut(): Promise<pg.PoolClient> {
    try {
      for (;;) {
        // A new connection outlives whoever happens to need it first.
        const client: pg.PoolClient = await outside(() => this.pool.connect())
        const before = this.#refusalsBefore.get(client)
        if (before === this.#refusals) return client
        if (before === undefined) {
          this.#refusalsBefore.set(client, this.#refusals)
          return client
        }
        client.release(true)
      }
    } catch (error) {
      throw error instanceof ConnectionError ? error : connectionError(error, this.target)
    }
  }

  async #send(client: pg.PoolClient, query: Query): Promise<pg.QueryResult> {
    const needs = await this.#needsOf(client, (text) => queryOurs(client, { text }))
    if (!needs.readCommitted || needs.settings.length > 0) return this.#inTransaction(client, query.inTransaction ?? query, needs)
    try {
      return await queryOurs(client, this.#names.apply(query))
    } catch (error) {
      if (!this.#names.failed(query, error)) throw error
      return await queryOurs(client, this.#names.apply(query))
    }
  }

  async #needsOf(client: pg.PoolClient, ask: (text: string) => Promise<pg.QueryResult<any>>): Promise<SessionNeeds> {
    const known = this.#needs.get(client)
    if (known !== undefined) return known
    const needs = needsOf((await ask(ASK_SETTINGS)).rows[0] ?? {})
    this.#needs.set(client, needs)
    return needs
  }

  async #inTransaction(client: pg.PoolClient, { name: _, ...query }: Query, needs: SessionNeeds): Promise<pg.QueryResult> {
    // Without its name, whose loss would abort the transaction.
    await client.query(beginOurs(needs))
    try {
      const result = await queryOurs(client, query)
      await client.query("commit")
      return result
    } catch (error) {
      if (!isConnectionLoss(error)) await client.query("rollback")
      throw error
    }
  }

  async #bounded(client: pg.PoolClient, work: () => Promise<pg.QueryResult>, timeoutMs: number): Promise<any> {
    let dead: Error | undefined
    // A checked-out client emits its own errors; without a listener they would end the process.
    const onError = (error: Error): void => {
      dead = error
    }
    client.on("error", onError)
    try {
      return (await answered(work(), timeoutMs)).rows
    } catch (error) {
      if (isConnectionLoss(error)) dead ??= error as Error
      else if (isReadOnly(error)) dead ??= this.#refusedToWrite(error)
      throw this.#translated(error, !isNeverSent(error))
    } finally {
      release(client, onError, dead)
    }
  }

  /** What a statement of ours is refused for by rules of the database's own; here as it is. */
  protected refused(error: unknown): unknown {
    return error
  }

  #refusedToWrite(error: unknown): Error {
    this.#refusals++
    return error as Error
  }

  /** `sent`: what failed may have taken effect before its connection was lost. */
  #translated(error: unknown, sent: boolean): unknown {
    if (error instanceof TuskError) return error
    if (isConnectionLoss(error)) return connectionError(error, this.target, sent)
    return isOfTheServer(error) ? connectionError(error, this.target) : this.refused(error)
  }
}

/** The runner of a client, whose errors leave public calls. */
export class ClientRunner extends Runner {
  protected override refused(error: unknown): unknown {
    return refusedByRule(error, this.target, "a change that pgtusk makes, and nothing of it was stored")
  }
}

/** Nothing is wrong with the values of the statement: a right or a table is missing, the disk is full, its time was over. */
function isOfTheServer(error: unknown): boolean {
  return sqlStateOf(error) !== undefined && !isAboutValues(error)
}

/** A timer that is late by more than this was held up, by a handler that computes, say, or a process that was stopped. */
const HELD_UP_MS = 50

/**
 * The answer to a statement, or, once this time is over, an error that says that its connection is lost. When the event loop was held up, the answer
 * may lie in the socket unread: it gets another moment then.
 */
export async function answered<T>(answer: Promise<T>, ms: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const due = performance.now() + ms
  const late = new Promise<never>((_, reject) => {
    const give = (): void => reject(new Error(`Postgres did not answer within ${Math.round(ms)} ms`))
    timer = setTimeout(() => {
      if (performance.now() - due < HELD_UP_MS) give()
      else timer = setTimeout(give, HELD_UP_MS)
    }, ms)
  })
  try {
    return await Promise.race([answer, late])
  } finally {
    clearTimeout(timer)
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
  // The pool's timer, and the call of whoever waits for a connection.
  outside(() => client.release(dead))
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
