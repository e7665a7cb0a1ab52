import { type Kysely, Migrator } from "kysely"
import { defineConfig } from "kysely-ctl"
import pg from "pg"
import { migrationsFor } from "./migrations/index.js"
import { schemaNames } from "./src/postgres/statements/names.js"

// For work on pgtusk itself: `npx kysely migrate:list`, `npx kysely migrate:latest`. Users run `npx pgtusk migrate`.
const names = schemaNames(process.env["PGTUSK_SCHEMA"] ?? "tusk")

export default defineConfig({
  dialect: "pg",
  dialectConfig: { pool: new pg.Pool({ connectionString: process.env["DATABASE_URL"] }) },
  migrations: {
    migrator: (db: Kysely<any>) =>
      new Migrator({
        db,
        provider: { getMigrations: async () => migrationsFor(names) },
        migrationTableSchema: names.schema,
        migrationTableName: "migration",
        migrationLockTableName: "migration_lock",
      }),
  },
})
