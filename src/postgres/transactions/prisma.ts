import type { Executor } from "../run/executor.js"
import { type ClientAdapter, executorOver } from "./adapter.js"
import { hasMethods } from "./shape.js"

/** Prisma: the client of an interactive transaction, or the PrismaClient itself (then each statement takes effect at once). */
export const prismaClient: ClientAdapter = {
  name: "Prisma",
  recognise(tx): Executor | undefined {
    if (!hasMethods(tx, "$queryRawUnsafe")) return undefined
    return executorOver({
      name: "Prisma transaction",
      // P2028: the transaction is closed, or its time was over.
      saysEnded: (error) => error instanceof Error && Reflect.get(error, "code") === "P2028",
      async run(text, params) {
        const rows: any[] = await tx.$queryRawUnsafe(text, ...params)
        // Prisma gives rows and no count.
        return { rows, rowCount: rows.length === 0 ? null : rows.length }
      },
    })
  },
}
