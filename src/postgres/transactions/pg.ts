import { InvalidOptionError } from "../../api/errors.js"
import type { Executor } from "../run/executor.js"
import { executorOf } from "../run/values.js"
import { type ClientAdapter, executorOver } from "./adapter.js"
import { hasMethods, outcomeOfResult, type Shape } from "./shape.js"

/**
 * node-postgres, and whatever answers `query(text, params)` with `{ rows }`: the transactions of pgtusk itself, PGlite, Neon's client.
 * A bare client does not know transactions, so outside of begin and commit its statements take effect at once.
 */
export const pgClient: ClientAdapter = {
  name: "pg (Client, PoolClient)",
  recognise(tx): Executor | undefined {
    if (!hasMethods(tx, "query")) return undefined
    if (isPool(tx)) {
      throw new InvalidOptionError(
        "tx: a pg.Pool was given, and each of its queries may go to another connection, outside of your transaction; check out a client with pool.connect(), " +
          "begin on it and give that as tx, or give the transaction of Drizzle or Kysely",
      )
    }
    return executorOver({
      name: "pg client",
      saysEnded: isClosedClient,
      async run(text, params) {
        // Without a list of parameters pg uses the simple protocol, which migrations need.
        // A client of pg takes the parsers with the query; what else answers to query() may not.
        const result: unknown = await (hasMethods(tx, "getTypeParser")
          ? executorOf(tx).query(text, params)
          : params.length === 0
            ? tx.query(text)
            : tx.query(text, params))
        const outcome = outcomeOfResult(result)
        if (outcome !== undefined) return outcome
        throw new InvalidOptionError(
          "tx: the object given has a query() method, but what it returns is not { rows: [...] }, as it is with pg; give a client of pg, or another supported one",
        )
      },
    })
  },
}

function isPool(client: Shape): boolean {
  return hasMethods(client, "connect", "end") && typeof client["totalCount"] === "number" && typeof client["idleCount"] === "number"
}

/** The errors of a client of pg whose connection was closed before the statement was sent. */
export function isClosedClient(error: unknown): boolean {
  for (let e = error; e instanceof Error; e = e.cause) if (/\bnot queryable$/.test(e.message)) return true
  return false
}
