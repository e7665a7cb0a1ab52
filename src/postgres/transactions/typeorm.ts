import { InvalidOptionError } from "../../api/errors.js"
import type { Executor } from "../run/executor.js"
import { type ClientAdapter, executorOver } from "./adapter.js"
import { isClosedClient } from "./pg.js"
import { hasMethods, type Shape } from "./shape.js"

const POSTGRES = ["postgres", "cockroachdb", "aurora-postgres"]

/** TypeORM: the EntityManager that `transaction()` hands out, or a QueryRunner with a transaction. */
export const typeormClient: ClientAdapter = {
  name: "TypeORM (EntityManager, QueryRunner)",
  recognise(tx): Executor | undefined {
    if (isQueryRunner(tx)) return over(tx, "TypeORM QueryRunner")
    if (!hasMethods(tx, "query", "transaction", "getRepository")) return undefined
    const runner: unknown = tx["queryRunner"]
    if (isQueryRunner(runner)) return over(runner, "TypeORM EntityManager")
    throw new InvalidOptionError(
      `tx: a TypeORM ${hasMethods(tx, "createQueryRunner") ? "DataSource" : "EntityManager outside of a transaction"} was given, and each of its queries may go to another ` +
        "connection; give the manager that dataSource.transaction(async (manager) => …) hands you, or a QueryRunner after startTransaction()",
    )
  },
}

function isQueryRunner(value: unknown): value is Shape & { query(text: string, params: unknown[], structured: true): Promise<any> } {
  return hasMethods(value, "query", "startTransaction", "commitTransaction", "release") && typeof value["isReleased"] === "boolean"
}

function over(runner: Shape, name: string): Executor {
  const type: unknown = (runner["dataSource"] ?? runner["connection"])?.options?.type
  if (typeof type === "string" && !POSTGRES.includes(type)) {
    throw new InvalidOptionError(`tx: TypeORM on ${type} was given; the jobs live in Postgres, so give a transaction of TypeORM on Postgres`)
  }
  return executorOver({
    name,
    assertOpen() {
      // A released runner throws TypeORM's own error.
      if (runner["isReleased"] === true || runner["isTransactionActive"] !== false) return
      throw new InvalidOptionError(
        `tx: the ${name} given has no open transaction: it was committed or rolled back already, or startTransaction() was not called; enqueue between the two`,
      )
    },
    saysEnded: (error) =>
      isClosedClient(error) || (error instanceof Error && /^QueryRunner(Provider)?AlreadyReleasedError$/.test(error.constructor.name)),
    async run(text, params) {
      // Structured, since the raw result's shape depends on the command.
      const result = await runner["query"](text, params, true)
      const rows = result.records ?? []
      return { rows, rowCount: typeof result.affected === "number" ? result.affected : rows.length }
    },
  })
}
