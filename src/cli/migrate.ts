import { migrationsFor } from "../../migrations/index.js"
import { migrationSql } from "../postgres/schema/migrate.js"
import { type SchemaNames, schemaNames } from "../postgres/statements/names.js"
import { type DatabaseOptions, describeDatabase, withTusk } from "./database.js"
import { UsageError } from "./failure.js"
import { count, note, print } from "./output.js"

export interface MigrateOptions extends DatabaseOptions {
  readonly sql?: boolean
  readonly from?: number
}

/** `pgtusk migrate` */
export async function migrate(options: MigrateOptions): Promise<void> {
  if (options.sql) {
    process.stdout.write(await sqlAfter(schemaNames(options.schema), options.from ?? 0))
    return
  }
  if (options.from !== undefined) throw new UsageError("--from belongs to --sql; without --sql pgtusk looks itself what is missing")
  await withTusk(options, async (tusk, url) => {
    const { applied } = await tusk.migrate()
    for (const name of applied) print(name)
    const where = describeDatabase(url, options.schema)
    note(applied.length === 0 ? `Nothing to do: ${where} is up to date.` : `Applied ${count(applied.length, "migration")}: ${where} is up to date.`)
  })
}

async function sqlAfter(names: SchemaNames, from: number): Promise<string> {
  const last = Object.keys(migrationsFor(names)).at(-1)!
  const number = Number.parseInt(last, 10)
  if (from > number) throw new UsageError(`--from is ${from}, and the last migration of this version is ${number} (${last})`)
  return from === number ? `-- ${last} is the last migration of this version; nothing comes after it.\n` : migrationSql(names, from)
}
