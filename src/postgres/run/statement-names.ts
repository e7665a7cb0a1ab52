import type { Logger } from "../../api/logger.js"
import { sqlStateOf } from "./sqlstate.js"

/**
 * Whether statements may carry names on the way to a server. A named statement belongs to a session; a pooler in transaction mode gives each
 * transaction another one, where the name is missing (26000) or taken already (42P05). Both errors come before the statement does anything.
 *
 *   named --such an error--> unnamed, for good
 */
export class StatementNames {
  readonly #logger: Logger
  #lost = false

  constructor(logger: Logger) {
    this.#logger = logger
  }

  /** The statement as it is to be sent. */
  apply<Q extends { readonly name?: string }>(query: Q): Q {
    if (!this.#lost || query.name === undefined) return query
    const { name: _, ...unnamed } = query
    return unnamed as Q
  }

  /** True when the statement failed by its name alone: from now on all go without, and this one is to be sent again. */
  failed(query: { readonly name?: string }, error: unknown): boolean {
    const state = sqlStateOf(error)
    if (query.name === undefined || (state !== "26000" && state !== "42P05")) return false
    if (!this.#lost) {
      this.#lost = true
      this.#logger.info(
        `prepared statements get lost on the way to Postgres (${state}), as behind a pooler in transaction mode; statements go unprepared from now on. preparedStatements: false says so from the start`,
      )
    }
    return true
  }
}
