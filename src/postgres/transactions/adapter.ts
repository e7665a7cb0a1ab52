/** What each client library needs to serve as `tx`: a way to know its objects, and a way to run a statement through them. */
import { InvalidOptionError, TuskError } from "../../api/errors.js"
import type { Executor, QueryOutcome } from "../run/executor.js"
import { sqlStateOf } from "../run/sqlstate.js"

export interface ClientAdapter {
  /** As the list of supported clients in error messages says it. */
  readonly name: string
  /**
   * The executor; undefined when `tx` is not of this library. Throws InvalidOptionError for an object of the library that cannot be a `tx`.
   * `called` is what messages call it, when the application gave something else that it stands under.
   */
  recognise(tx: object, called?: string): Executor | undefined
}

export interface ClientCalls {
  /** What error messages call the object: "Kysely transaction". */
  readonly name: string
  /** Throws when the transaction has ended. For libraries that would quietly run the statement outside of it. */
  readonly assertOpen?: (() => void | Promise<void>) | undefined
  /** Whether this error of the library means that its transaction, or the connection under it, has ended. */
  readonly saysEnded?: (error: unknown) => boolean
  run(text: string, params: unknown[]): Promise<QueryOutcome<any>>
}

/** An executor over a library's calls. Its own "already finished" becomes one InvalidOptionError, alike for all; other errors pass as they are. */
export function executorOver(client: ClientCalls): Executor {
  return {
    async query<T>(text: string, params: readonly unknown[]): Promise<QueryOutcome<T>> {
      try {
        if (client.assertOpen !== undefined) await client.assertOpen()
        return await client.run(
          text,
          params.map((value) => value ?? null),
        )
      } catch (error) {
        if (!(error instanceof TuskError) && client.saysEnded?.(error)) throw endedError(client.name, error)
        throw error
      }
    },
  }
}

export function endedError(name: string, cause?: unknown): InvalidOptionError {
  return new InvalidOptionError(
    `tx: the ${name} given has already been committed or rolled back, or its connection was closed; enqueue before that, and await it there`,
    cause === undefined ? undefined : { cause },
  )
}

/**
 * Asks the server whether a transaction is open, for libraries that cannot tell: outside of one it refuses a savepoint, in one nothing changes.
 * Once for an executor, before its first statement. `run` gets the statements that need a round trip each, in order.
 */
export function openProbe(run: (sql: string) => PromiseLike<unknown>, statements: readonly string[] = OPEN_PROBE): () => Promise<void> {
  let answer: Promise<void> | undefined
  return () => {
    answer ??= (async () => {
      for (const sql of statements) await run(sql)
    })()
    return answer
  }
}
export const OPEN_PROBE: readonly string[] = ["savepoint pgtusk_probe", "release savepoint pgtusk_probe"]

/** The server's own word for "there is no transaction here" (no_active_sql_transaction), which the probe brings. */
export function isOutsideTransaction(error: unknown): boolean {
  return sqlStateOf(error) === "25P01"
}
