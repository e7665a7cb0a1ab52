import { InvalidOptionError } from "../../api/errors.js"
import type { Executor } from "../run/executor.js"
import type { ClientAdapter } from "./adapter.js"
import { knexClient } from "./knex.js"
import { kyselyClient } from "./kysely.js"
import { hasMethods } from "./shape.js"

/** MikroORM: an EntityManager in a transaction. The transaction itself is one of Knex (MikroORM 6) or Kysely (7). */
export const mikroOrmClient: ClientAdapter = {
  name: "MikroORM (EntityManager)",
  recognise(tx): Executor | undefined {
    if (!hasMethods(tx, "getTransactionContext", "getConnection", "fork")) return undefined
    const context: unknown = tx.getTransactionContext()
    if (context === undefined || context === null) {
      throw new InvalidOptionError(
        "tx: the MikroORM EntityManager given has no open transaction: it was committed or rolled back already, or never begun; " +
          "give the one that em.transactional(async (em) => …) hands you, or one after em.begin()",
      )
    }
    const called = "transaction of the MikroORM EntityManager"
    const executor = knexClient.recognise(context, called) ?? kyselyClient.recognise(context, called)
    if (executor !== undefined) return executor
    throw new InvalidOptionError(
      "tx: the MikroORM EntityManager given is not on Postgres; the jobs live in Postgres, so give one of @mikro-orm/postgresql",
    )
  },
}
