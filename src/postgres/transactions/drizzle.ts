import { InvalidOptionError } from "../../api/errors.js"
import type { Executor } from "../run/executor.js"
import { type ClientAdapter, endedError, executorOver, openProbe } from "./adapter.js"
import { isClosedClient } from "./pg.js"
import { isEndedPostgresJs, isPostgresJs, postgresJsProbe } from "./postgres-js.js"
import { hasMethods, outcomeOfArray, outcomeOfResult, type Shape } from "./shape.js"

const ENTITY_KIND = Symbol.for("drizzle:entityKind")

/** Drizzle on node-postgres, postgres.js or another Postgres driver: a transaction, or the database (then each statement takes effect at once). */
export const drizzleClient: ClientAdapter = {
  name: "Drizzle on Postgres (node-postgres, postgres.js)",
  recognise(tx): Executor | undefined {
    const dialect = dialectOf(tx)
    if (dialect === undefined) return undefined
    if (dialect !== "PgDialect" || !hasMethods(tx, "execute")) {
      throw new InvalidOptionError(
        `tx: Drizzle with its ${dialect} was given; the jobs live in Postgres, so give a transaction of Drizzle on Postgres`,
      )
    }
    return executorOver({
      name: "Drizzle transaction",
      assertOpen: openCheck(tx),
      saysEnded: (error) => isEndedPostgresJs(error) || isClosedClient(error),
      async run(text, params) {
        const result: unknown = await tx.execute(statement(text, params))
        const outcome = outcomeOfResult(result) ?? outcomeOfArray(result)
        if (outcome !== undefined) return outcome
        throw new InvalidOptionError("tx: the driver under the Drizzle transaction does not return rows as node-postgres and postgres.js do")
      },
    })
  },
}

function dialectOf(tx: object): string | undefined {
  const dialect: unknown = Reflect.get(tx, "dialect")
  if (!hasMethods(dialect, "sqlToQuery")) return undefined
  const kind: unknown = Reflect.get(dialect["constructor"], ENTITY_KIND)
  return typeof kind === "string" ? kind : undefined
}

/**
 * Drizzle's `SQLWrapper`, built by shape. `execute()` asks it for its SQL, and that for the query, so the text and the parameters reach the driver
 * untouched, whatever `casing` is set, and without a need for Drizzle's own `sql`.
 */
function statement(text: string, params: unknown[]): object {
  const query = { sql: text, params, typings: params.map(() => "none") }
  return { getSQL: () => ({ toQuery: () => query }) }
}

/** Drizzle lets a finished transaction go on; the client in its session (not a public name) knows better. With another driver nothing is checked. */
function openCheck(tx: Shape): (() => void | Promise<void>) | undefined {
  if (!hasMethods(tx, "rollback")) return undefined
  const client: unknown = tx["session"]?.client
  if (isPostgresJs(client)) return postgresJsProbe(client)
  if (!hasMethods(client, "query", "escapeIdentifier")) return undefined
  // Before pg 8.20 a client does not say.
  if (!hasMethods(client, "getTransactionStatus")) return openProbe((sql) => client.query(sql))
  return () => {
    if (client.getTransactionStatus() === "I") throw endedError("Drizzle transaction")
  }
}
