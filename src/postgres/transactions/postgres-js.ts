import { InvalidOptionError } from "../../api/errors.js"
import type { Executor } from "../run/executor.js"
import { type ClientAdapter, executorOver, isOutsideTransaction, OPEN_PROBE, openProbe } from "./adapter.js"
import { hasMethods, outcomeOfArray, type Shape } from "./shape.js"

/** postgres.js: the `sql` of `begin` or `savepoint`, a reserved connection, or the pool's own `sql` (then each statement takes effect at once). */
export const postgresJsClient: ClientAdapter = {
  name: "postgres.js",
  recognise(tx): Executor | undefined {
    if (!isPostgresJs(tx)) return undefined
    return executorOver({
      name: "postgres.js transaction",
      assertOpen: postgresJsProbe(tx),
      saysEnded: isEndedPostgresJs,
      async run(text, params) {
        // `prepare` asks for what the `sql` tag does by default; a connection opened with prepare: false still prepares nothing.
        const outcome = outcomeOfArray(await (params.length === 0 ? tx.unsafe(text) : tx.unsafe(text, params, { prepare: true })))
        if (outcome !== undefined) return outcome
        throw new InvalidOptionError("tx: the object given looks like postgres.js, but its unsafe() does not return rows")
      },
    })
  },
}

export function isPostgresJs(value: unknown): value is Shape & { unsafe(text: string, params?: unknown[], options?: object): PromiseLike<unknown> } {
  return typeof value === "function" && hasMethods(value, "unsafe")
}

/**
 * For a transaction: asks the server, before the first statement, whether it is still open. postgres.js itself does not tell: a statement on the
 * `sql` of a finished transaction quietly runs on whatever the connection does now. Costs one round trip.
 */
export function postgresJsProbe(tx: Shape): (() => Promise<void>) | undefined {
  if (!hasMethods(tx, "unsafe", "savepoint")) return undefined
  return openProbe((sql) => tx.unsafe(sql), [OPEN_PROBE.join("; ")])
}

export function isEndedPostgresJs(error: unknown): boolean {
  if (isOutsideTransaction(error)) return true
  for (let e = error; e instanceof Error; e = e.cause) {
    const code: unknown = Reflect.get(e, "code")
    if (code === "CONNECTION_ENDED" || code === "CONNECTION_DESTROYED") return true
  }
  return false
}
