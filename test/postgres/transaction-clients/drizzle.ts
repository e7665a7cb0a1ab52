import { drizzle as drizzleOnPg } from "drizzle-orm/node-postgres"
import { pgTable, serial, text } from "drizzle-orm/pg-core"
import { drizzle as drizzleOnPostgresJs } from "drizzle-orm/postgres-js"
import pg from "pg"
import postgres from "postgres"
import type { SupportedClient } from "./contract.js"

const notes = pgTable("notes", { id: serial("id").primaryKey(), body: text("body").notNull() })

/** A client of pg before 8.20, which does not say whether it is in a transaction. */
class SilentClient extends pg.Client {}
Object.defineProperty(SilentClient.prototype, "getTransactionStatus", { value: undefined })

function onPg(name: string, options: { casing?: "camelCase"; Client?: typeof pg.Client; endCause?: RegExp } = {}): SupportedClient {
  return {
    name,
    knowsEnd: true,
    ...(options.endCause === undefined ? {} : { endCause: options.endCause }),
    async open(url) {
      const pool = new pg.Pool({ connectionString: url, max: 2, ...(options.Client === undefined ? {} : { Client: options.Client }) })
      const db = drizzleOnPg(pool, options.casing === undefined ? {} : { casing: options.casing })
      return {
        transaction: (work) =>
          db.transaction((tx) =>
            work({ tx, write: (body) => tx.insert(notes).values({ body }), nested: (inner) => tx.transaction((point) => inner(point)) }),
          ),
        close: () => pool.end(),
      }
    },
  }
}

function onPostgresJs(name: string, options: postgres.Options<any> = {}): SupportedClient {
  return {
    name,
    knowsEnd: true,
    endCause: /savepoint/i,
    renames: options.transform !== undefined,
    async open(url) {
      const sql = postgres(url, { max: 2, ...options })
      const db = drizzleOnPostgresJs(sql)
      return {
        transaction: (work) =>
          db.transaction((tx) =>
            work({ tx, write: (body) => tx.insert(notes).values({ body }), nested: (inner) => tx.transaction((point) => inner(point)) }),
          ),
        close: () => sql.end(),
      }
    },
  }
}

export const drizzleClients: readonly SupportedClient[] = [
  onPg("Drizzle on node-postgres"),
  onPg("Drizzle on node-postgres with casing", { casing: "camelCase" }),
  onPg("Drizzle on an older node-postgres", { Client: SilentClient, endCause: /savepoint/i }),
  onPostgresJs("Drizzle on postgres.js"),
  onPostgresJs("Drizzle on postgres.js with camel", { transform: postgres.camel }),
]
