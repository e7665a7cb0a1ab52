import type { Executor } from "../run/executor.js"
import { type ClientAdapter, executorOver, isOutsideTransaction, openProbe } from "./adapter.js"
import { hasMethods, type Shape } from "./shape.js"

/** Kysely 0.27 and later: a Transaction, a ControlledTransaction or the instance itself (then each statement takes effect at once). */
export const kyselyClient: ClientAdapter = {
  name: "Kysely (Transaction, ControlledTransaction)",
  recognise(tx, called = "Kysely transaction"): Executor | undefined {
    if (!hasMethods(tx, "executeQuery", "withoutPlugins", "getExecutor")) return undefined
    const given: Shape = tx.getExecutor()
    // The user's plugins must not see our statement: CamelCasePlugin renames result columns and the keys of JSON in them. Not tx.withoutPlugins():
    // in 0.28 and the first of 0.29, what that makes of a controlled transaction has forgotten that it ended.
    const plain: Shape = given["withoutPlugins"]()
    return executorOver({
      name: called,
      assertOpen: tx["isTransaction"] === true && !asserts(given) ? openProbe((sql) => plain["executeQuery"](compiled(sql, []))) : undefined,
      saysEnded: (error) =>
        isOutsideTransaction(error) || (error instanceof Error && /^Transaction is already (committed|rolled back)/.test(error.message)),
      async run(text, params) {
        const result = await plain["executeQuery"](compiled(text, params))
        const affected: unknown = result.numAffectedRows
        return { rows: result.rows, rowCount: affected === undefined ? result.rows.length : Number(affected) }
      },
    })
  },
}

/** Before 0.28.9 a transaction with a callback lets statements run after its end. In a minified bundle we cannot tell, and ask the server as well. */
function asserts(executor: Shape): boolean {
  return executor["constructor"].name === "NotCommittedOrRolledBackAssertingExecutor"
}

/** Kysely's CompiledQuery, built by shape: its classes hold private fields, so those of another copy or version would not fit. */
function compiled(sql: string, parameters: readonly unknown[]): object {
  return {
    sql,
    parameters,
    query: { kind: "RawNode", sqlFragments: [sql], parameters: [] },
    queryId: { queryId: "pgtusk" },
  }
}
