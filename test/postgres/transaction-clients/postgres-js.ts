import postgres from "postgres"
import type { SupportedClient } from "./contract.js"

function postgresJs(name: string, options: postgres.Options<any> = {}): SupportedClient {
  return {
    name,
    knowsEnd: true,
    endCause: /savepoint/i,
    renames: options.transform !== undefined,
    async open(url) {
      const sql = postgres(url, { max: 2, ...options })
      return {
        transaction: (work) =>
          sql.begin((tx) =>
            work({ tx, write: (body) => tx`insert into notes (body) values (${body})`, nested: (inner) => tx.savepoint((point) => inner(point)) }),
          ),
        close: () => sql.end(),
      }
    },
  }
}

export const postgresJsClients: readonly SupportedClient[] = [
  postgresJs("postgres.js"),
  postgresJs("postgres.js with camel", { transform: postgres.camel }),
  postgresJs("postgres.js without prepared statements", { prepare: false }),
]
