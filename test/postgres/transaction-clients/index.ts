import type { SupportedClient } from "./contract.js"
import { drizzleClients } from "./drizzle.js"
import { knexClients } from "./knex.js"
import { kyselyClients } from "./kysely.js"
import { mikroOrmClients } from "./mikro-orm.js"
import { pgClients } from "./pg.js"
import { postgresJsClients } from "./postgres-js.js"
import { prismaClients } from "./prisma.js"
import { typeormClients } from "./typeorm.js"

export const supportedClients: readonly SupportedClient[] = [
  ...pgClients,
  ...kyselyClients,
  ...drizzleClients,
  ...postgresJsClients,
  ...knexClients,
  ...typeormClients,
  ...mikroOrmClients,
  ...prismaClients,
]
