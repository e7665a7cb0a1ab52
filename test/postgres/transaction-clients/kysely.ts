import { CamelCasePlugin, Kysely, type KyselyPlugin, PostgresDialect, sql } from "kysely"
import pg from "pg"
import { byHand, type SupportedClient, savepoint } from "./contract.js"

interface Tables {
  notes: { id?: number; body: string }
}

export function openKysely(url: string, plugins: KyselyPlugin[] = []): Kysely<Tables> {
  return new Kysely<Tables>({ dialect: new PostgresDialect({ pool: new pg.Pool({ connectionString: url, max: 2 }) }), plugins })
}

const write = (db: Kysely<Tables>) => (body: string) => db.insertInto("notes").values({ body }).execute()
const run = (db: Kysely<Tables>) => (text: string) => sql.raw(text).execute(db)

function withCallback(name: string, plugins: KyselyPlugin[] = []): SupportedClient {
  return {
    name,
    knowsEnd: true,
    endCause: /already (committed|rolled back)/,
    async open(url) {
      const db = openKysely(url, plugins)
      return {
        transaction: (work) =>
          db.transaction().execute((tx) => work({ tx, write: write(tx), nested: (inner) => savepoint(run(tx), () => inner(tx)) })),
        close: () => db.destroy(),
      }
    },
  }
}

const controlled: SupportedClient = {
  name: "Kysely ControlledTransaction with CamelCasePlugin",
  knowsEnd: true,
  endCause: /already (committed|rolled back)/,
  async open(url) {
    const db = openKysely(url, [new CamelCasePlugin()])
    return {
      async transaction(work) {
        const tx = await db.startTransaction().execute()
        await byHand({ begin: async () => {}, commit: () => tx.commit().execute(), rollback: () => tx.rollback().execute() }, () =>
          work({
            tx,
            write: write(tx),
            async nested(inner) {
              const point = await tx.savepoint("here").execute()
              await byHand(
                {
                  begin: async () => {},
                  commit: () => point.releaseSavepoint("here").execute(),
                  rollback: () => point.rollbackToSavepoint("here").execute(),
                },
                () => inner(point),
              )
            },
          }),
        )
      },
      close: () => db.destroy(),
    }
  },
}

/** Kysely before 0.28.9, whose transactions do not notice their end: one connection of today's, told to be a transaction. */
const forgetful: SupportedClient = {
  name: "Kysely Transaction of an older version",
  knowsEnd: true,
  endCause: /savepoint/i,
  async open(url) {
    const db = openKysely(url)
    return {
      transaction: (work) =>
        db.connection().execute((connection) => {
          const tx = {
            isTransaction: true,
            executeQuery: connection.executeQuery.bind(connection),
            withoutPlugins: () => tx,
            getExecutor: () => connection.getExecutor(),
          }
          const step = (text: string) => () => run(connection)(text)
          return byHand({ begin: step("begin"), commit: step("commit"), rollback: step("rollback") }, () =>
            work({ tx, write: write(connection), nested: (inner) => savepoint(run(connection), () => inner(tx)) }),
          )
        }),
      close: () => db.destroy(),
    }
  },
}

export const kyselyClients: readonly SupportedClient[] = [
  withCallback("Kysely Transaction"),
  withCallback("Kysely Transaction with CamelCasePlugin", [new CamelCasePlugin()]),
  controlled,
  forgetful,
]
