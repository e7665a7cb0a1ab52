import pg from "pg"
import { byHand, type OpenTransaction, type SupportedClient, savepoint } from "./contract.js"

function transaction(client: pg.ClientBase, work: (open: OpenTransaction) => Promise<void>, tx: unknown = client): Promise<void> {
  const run = (sql: string, params?: unknown[]): Promise<unknown> => client.query(sql, params)
  return byHand({ begin: () => run("begin"), commit: () => run("commit"), rollback: () => run("rollback") }, () =>
    work({
      tx,
      write: (body) => run("insert into notes (body) values ($1)", [body]),
      nested: (inner) => savepoint(run, () => inner(tx)),
    }),
  )
}

export const pgClients: readonly SupportedClient[] = [
  {
    name: "pg Client",
    knowsEnd: false,
    async open(url) {
      const client = new pg.Client(url)
      await client.connect()
      return { transaction: (work) => transaction(client, work), close: () => client.end() }
    },
  },
  {
    name: "pg PoolClient",
    knowsEnd: false,
    async open(url) {
      const pool = new pg.Pool({ connectionString: url, max: 2 })
      return {
        async transaction(work) {
          const client = await pool.connect()
          try {
            await transaction(client, work)
          } finally {
            client.release()
          }
        },
        close: () => pool.end(),
      }
    },
  },
  {
    name: "a transaction of pgtusk's own form",
    knowsEnd: false,
    async open(url) {
      const client = new pg.Client(url)
      await client.connect()
      const tx = { query: (sql: string, params: unknown[] = []) => client.query(sql, params) }
      return { transaction: (work) => transaction(client, work, tx), close: () => client.end() }
    },
  },
]
