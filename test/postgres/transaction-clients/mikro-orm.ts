import { EntitySchema } from "@mikro-orm/core"
import { type EntityManager, MikroORM } from "@mikro-orm/postgresql"
import { byHand, type SupportedClient } from "./contract.js"

interface Note {
  id?: number
  body: string
}
const NoteSchema = new EntitySchema<Note>({
  name: "Note",
  tableName: "notes",
  properties: { id: { type: "number", primary: true, autoincrement: true }, body: { type: "text" } },
})

export async function openMikroOrm(url: string): Promise<MikroORM> {
  return await MikroORM.init({ clientUrl: url, entities: [NoteSchema], pool: { min: 0, max: 2 } })
}

const write = (em: EntityManager) => (body: string) => em.persist(em.create(NoteSchema, { body })).flush()

function transactional(name: string, txOf: (em: EntityManager) => unknown): SupportedClient {
  return {
    name,
    knowsEnd: true,
    endCause: /already complete/,
    async open(url) {
      const orm = await openMikroOrm(url)
      return {
        transaction: (work) =>
          orm.em
            .fork()
            .transactional((em) => work({ tx: txOf(em), write: write(em), nested: (inner) => em.transactional((point) => inner(txOf(point))) })),
        close: () => orm.close(true),
      }
    },
  }
}

const begun: SupportedClient = {
  name: "MikroORM EntityManager after begin()",
  knowsEnd: true,
  async open(url) {
    const orm = await openMikroOrm(url)
    return {
      transaction(work) {
        const em = orm.em.fork()
        return byHand({ begin: () => em.begin(), commit: () => em.commit(), rollback: () => em.rollback() }, () =>
          work({ tx: em, write: write(em), nested: (inner) => em.transactional((point) => inner(point)) }),
        )
      },
      close: () => orm.close(true),
    }
  },
}

export const mikroOrmClients: readonly SupportedClient[] = [
  transactional("MikroORM EntityManager", (em) => em),
  transactional("MikroORM's Knex transaction", (em) => em.getTransactionContext()),
  begun,
]
