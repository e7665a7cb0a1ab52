import { DataSource, EntitySchema } from "typeorm"
import { byHand, type SupportedClient } from "./contract.js"

const Note = new EntitySchema<{ id: number; body: string }>({
  name: "note",
  tableName: "notes",
  columns: { id: { type: Number, primary: true, generated: true }, body: { type: "text" } },
})

export async function openTypeorm(url: string): Promise<DataSource> {
  return await new DataSource({ type: "postgres", url, entities: [Note], poolSize: 2 }).initialize()
}

export const typeormClients: readonly SupportedClient[] = [
  {
    name: "TypeORM EntityManager",
    knowsEnd: true,
    endCause: /already released/,
    async open(url) {
      const source = await openTypeorm(url)
      return {
        transaction: (work) =>
          source.transaction((manager) =>
            work({ tx: manager, write: (body) => manager.insert(Note, { body }), nested: (inner) => manager.transaction((point) => inner(point)) }),
          ),
        close: () => source.destroy(),
      }
    },
  },
  {
    name: "TypeORM QueryRunner",
    knowsEnd: true,
    async open(url) {
      const source = await openTypeorm(url)
      // Kept from one transaction to the next.
      const runner = source.createQueryRunner()
      const inTransaction = (work: () => Promise<void>): Promise<void> =>
        byHand(
          { begin: () => runner.startTransaction(), commit: () => runner.commitTransaction(), rollback: () => runner.rollbackTransaction() },
          work,
        )
      return {
        transaction: (work) =>
          inTransaction(() =>
            work({ tx: runner, write: (body) => runner.manager.insert(Note, { body }), nested: (inner) => inTransaction(() => inner(runner)) }),
          ),
        async close() {
          await runner.release()
          await source.destroy()
        },
      }
    },
  },
]
