/** One function that runs SQL in the transaction of whatever client an application uses. */
import { InvalidOptionError } from "../../api/errors.js"
import type { Executor } from "../run/executor.js"
import type { ClientAdapter } from "./adapter.js"
import { drizzleClient } from "./drizzle.js"
import { knexClient } from "./knex.js"
import { kyselyClient } from "./kysely.js"
import { mikroOrmClient } from "./mikro-orm.js"
import { pgClient } from "./pg.js"
import { postgresJsClient } from "./postgres-js.js"
import { prismaClient } from "./prisma.js"
import { hasMethods } from "./shape.js"
import { typeormClient } from "./typeorm.js"

/** In the order of asking: the most telling shapes first, pg's bare `query()` last. */
const CLIENTS: readonly ClientAdapter[] = [
  prismaClient,
  kyselyClient,
  drizzleClient,
  postgresJsClient,
  knexClient,
  mikroOrmClient,
  typeormClient,
  pgClient,
]

/**
 * The transactions that pgtusk itself hands out. Their `query()` answers as the application has told its driver to; what pgtusk runs in them is read by
 * a table of its own.
 */
export const ownTransactions: WeakMap<object, Executor> = new WeakMap()

/**
 * An executor in the transaction `tx`, of any supported client, known by its shape.
 *
 * Throws InvalidOptionError for anything else, for a pool (each query may go to another connection) and, here or at the first query, for a
 * transaction that has ended. What cannot be seen: that a bare client of pg is outside of begin and commit, or was released to its pool.
 *
 *     await db.transaction().execute(async (trx) => {
 *       await executorFor(trx).query("insert into notes (body) values ($1::text)", ["hello"])
 *     })
 */
export function executorFor(tx: unknown): Executor {
  const own = typeof tx === "object" && tx !== null ? ownTransactions.get(tx) : undefined
  if (own !== undefined) return own
  if ((typeof tx === "object" || typeof tx === "function") && tx !== null) {
    for (const client of CLIENTS) {
      const executor = client.recognise(tx)
      if (executor !== undefined) return executor
    }
  }
  throw new InvalidOptionError(
    `tx: ${describe(tx)} was given; supported are ${CLIENTS.map((client) => client.name).join(", ")}, and the transactions of tusk.transaction() and currentJob().tx`,
  )
}

/** What an unknown thing looks like: its class and some of its keys, never its values. */
function describe(tx: unknown): string {
  if (typeof tx === "string") return "a string"
  if ((typeof tx !== "object" && typeof tx !== "function") || tx === null) return String(tx)
  if (hasMethods(tx, "then")) return "a promise (await it first)"
  if (Array.isArray(tx)) return "an array"
  try {
    return describeObject(tx)
  } catch {
    // A proxy may refuse to be looked at.
    return `${typeof tx === "function" ? "a function" : "an object"} that does not show its keys`
  }
}

function describeObject(tx: object): string {
  const prototype: unknown = Object.getPrototypeOf(tx)
  let keys = Object.keys(tx)
  // A class with private state has no keys of its own; its methods tell what it is.
  if (keys.length === 0 && typeof tx === "object" && prototype !== null && prototype !== Object.prototype) {
    keys = Object.getOwnPropertyNames(prototype).filter((name) => name !== "constructor")
  }
  const listed = keys.length === 0 ? "without keys" : `with the keys ${keys.slice(0, 8).join(", ")}${keys.length > 8 ? ", …" : ""}`
  if (typeof tx === "function") return `the function ${tx.name || "(anonymous)"} ${listed}`
  const name: unknown = Reflect.get(tx, "constructor")?.name
  return typeof name === "string" && name !== "" && name !== "Object" ? `an instance of ${name} ${listed}` : `an object ${listed}`
}
