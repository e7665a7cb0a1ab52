import knexFactory, { type Knex } from "knex"
import type { SupportedClient } from "./contract.js"

const camel = (name: string): string => name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase())
const snake = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

/** Renames all keys at any depth, as such hooks of applications do. */
function camelDeep(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(camelDeep)
  if (typeof value !== "object" || value === null || value instanceof Date) return value
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [camel(key), camelDeep(inner)]))
}

function knex(name: string, options: Knex.Config = {}): SupportedClient {
  return {
    name,
    knowsEnd: true,
    endCause: /already complete/,
    async open(url) {
      const db = knexFactory({ client: "pg", connection: url, pool: { min: 0, max: 2 }, ...options })
      return {
        transaction: (work) =>
          db.transaction((tx) =>
            work({ tx, write: (body) => Promise.resolve(tx("notes").insert({ body })), nested: (inner) => tx.transaction((point) => inner(point)) }),
          ),
        close: () => db.destroy(),
      }
    },
  }
}

export const knexClients: readonly SupportedClient[] = [
  knex("Knex"),
  knex("Knex with camel-casing hooks", {
    postProcessResponse: camelDeep,
    wrapIdentifier: (name, original) => original(name === "*" ? name : snake(name)),
  }),
]
