import { type SupportedClient, savepoint } from "./contract.js"
import { prismaShape } from "./prisma-shape.js"

export const prismaClients: readonly SupportedClient[] = [
  {
    name: "Prisma (by shape)",
    knowsEnd: true,
    endCause: /Transaction already closed/,
    async open(url) {
      const prisma = prismaShape(url)
      return {
        transaction: (work) =>
          prisma.$transaction((tx) =>
            work({
              tx,
              write: (body) => tx.$executeRawUnsafe("insert into notes (body) values ($1)", body),
              nested: (inner) =>
                savepoint(
                  (sql) => tx.$executeRawUnsafe(sql),
                  () => inner(tx),
                ),
            }),
          ),
        close: () => prisma.$disconnect(),
      }
    },
  },
]
