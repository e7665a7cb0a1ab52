/** What the tests of lost answers stand on: a database, a client that reaches it, and a proxy that loses what it is told to. */
import { afterAll, beforeAll } from "vitest"
import { Tusk } from "../../../src/index.js"
import { createDatabase, type TestDatabase } from "../../support/database.js"
import { type FaultProxy, startProxy } from "../../support/proxy.js"

const logger = { debug() {}, info() {}, warn() {}, error() {} }

export interface UnansweredGround {
  readonly db: TestDatabase
  readonly proxy: FaultProxy
  /** Its answers arrive. */
  readonly near: Tusk
}

/** Call it once, at the top of a test file. What it returns is there once the tests run. */
export function unansweredGround(): UnansweredGround {
  const ground = {} as { db: TestDatabase; proxy: FaultProxy; near: Tusk }
  beforeAll(async () => {
    ground.db = await createDatabase()
    ground.proxy = await startProxy(ground.db.url)
    ground.near = quietClient(ground.db.url)
  })
  afterAll(async () => {
    await ground.proxy.close()
    await ground.near.close()
    await ground.db.close()
  })
  return ground
}

export function quietClient(connectionString: string): Tusk {
  return new Tusk({ connectionString, logger, signals: false })
}

/** A client behind the proxy, which has its first connection and knows the schema. */
export async function farClient({ proxy }: UnansweredGround): Promise<Tusk> {
  const tusk = quietClient(proxy.url)
  await tusk.workers()
  return tusk
}
