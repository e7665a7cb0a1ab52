import { InvalidOptionError } from "../../api/errors.js"
import type { Executor, QueryOutcome } from "../run/executor.js"
import { executorOf } from "../run/values.js"
import { type ClientAdapter, executorOver } from "./adapter.js"
import { isClosedClient } from "./pg.js"
import { hasMethods, outcomeOfResult, type Shape } from "./shape.js"

/** Knex's other dialects. What derives from its Postgres client may call itself anything. */
const OTHER_DIALECTS = ["mysql", "sqlite3", "mssql", "oracle"]

/** Knex: a transaction, a savepoint in one, or the instance itself (then each statement takes effect at once). */
export const knexClient: ClientAdapter = {
  name: "Knex",
  recognise(tx, called = "Knex transaction"): Executor | undefined {
    if (typeof tx !== "function" || !hasMethods(tx, "raw", "transaction")) return undefined
    const client: unknown = tx["client"]
    if (!hasMethods(client, "acquireConnection", "releaseConnection")) return undefined
    const dialect: unknown = client["dialect"]
    if (typeof dialect === "string" && OTHER_DIALECTS.includes(dialect)) {
      throw new InvalidOptionError(`tx: Knex on ${dialect} was given; the jobs live in Postgres, so give a transaction of Knex on Postgres`)
    }
    return executorOver({
      name: called,
      saysEnded: (error) => isClosedClient(error) || (error instanceof Error && error.message.startsWith("Transaction query already complete")),
      run: (text, params) => runOnConnection(tx, client, text, params),
    })
  },
}

/**
 * On the connection itself rather than through `raw()`: that reads every `?` as a parameter, also inside of string literals and as a JSON operator,
 * has no way to write a backslash before one, hands results to the user's postProcessResponse, and puts all values into the error's message.
 */
async function runOnConnection(knex: Shape, client: Shape, text: string, params: unknown[]): Promise<QueryOutcome<any>> {
  const connection = await client["acquireConnection"]()
  try {
    // A finished transaction still gives its connection; asked for a query, it throws Knex's own error.
    if (hasMethods(knex, "isCompleted") && knex.isCompleted()) await knex["raw"]("select 1")
    const outcome = outcomeOfResult(await executorOf(connection).query(text, params))
    if (outcome !== undefined) return outcome
    throw new InvalidOptionError("tx: the driver under the Knex transaction does not return rows as pg does")
  } finally {
    await client["releaseConnection"](connection)
  }
}
