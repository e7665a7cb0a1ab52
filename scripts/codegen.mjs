/**
 * `npm run codegen`: what follows from the migrations, made anew from a freshly migrated Postgres.
 *
 *     npm run codegen                writes src/postgres/statements/schema.ts (types for Kysely) and test/golden/schema.sql (the schema as text)
 *     npm run codegen -- --verify    fails when one of them is out of step
 *
 * The server is found as in tests: TEST_DATABASE_URL, PGTUSK_TEST, PGTUSK_TEST_MAJOR.
 */
import { randomBytes } from "node:crypto"
import { readFileSync, writeFileSync } from "node:fs"
import { relative } from "node:path"
import { fileURLToPath } from "node:url"
import { Kysely, PostgresDialect } from "kysely"
import { PostgresDialect as CodegenDialect, generate } from "kysely-codegen"
import pg from "pg"
import { migrateUrl } from "../src/postgres/schema/migrate.ts"
import { dumpSchema } from "../test/golden/dump.ts"
import { databasePrefix, withDatabase } from "../test/support/names.ts"
import { startServer } from "../test/support/server.ts"

const TYPES = fileURLToPath(new URL("../src/postgres/statements/schema.ts", import.meta.url))
const DUMP = fileURLToPath(new URL("../test/golden/schema.sql", import.meta.url))

/** Both texts, from a database of their own that is dropped again. */
async function make() {
  const server = await startServer()
  const admin = new pg.Client({ connectionString: server.url })
  const name = `${databasePrefix(randomBytes(4).toString("hex"))}codegen`
  try {
    await admin.connect()
    await admin.query(`create database "${name}" template template0`)
    const url = withDatabase(server.url, name)
    await migrateUrl(url)
    return await read(url)
  } finally {
    await admin.query(`drop database if exists "${name}" with (force)`)
    await admin.end()
    await server.stop()
  }
}

async function read(url) {
  const pool = new pg.Pool({ connectionString: url, max: 2 })
  // A pool ends before its connections have: they may still see the database dropped.
  pool.on("error", () => {})
  const db = new Kysely({ dialect: new PostgresDialect({ pool }) })
  try {
    const types = await generate({
      db,
      dialect: new CodegenDialect({ defaultSchemas: ["tusk"] }),
      defaultSchemas: ["tusk"],
      includePattern: "tusk.*",
      // Kysely's own tables.
      excludePattern: "tusk.migration*",
      // A library that nothing here needs would have to be a dependency for the type that pg parses intervals into.
      typeMapping: { interval: "string" },
      outFile: null,
    })
    return new Map([
      [TYPES, types],
      [DUMP, await dumpSchema(pool)],
    ])
  } finally {
    await db.destroy()
  }
}

const made = await make()
for (const [file, text] of made) {
  if (!process.argv.includes("--verify")) {
    writeFileSync(file, text)
  } else if (readFileSync(file, "utf8") !== text) {
    console.error(`${relative(process.cwd(), file)} is out of step with the migrations: run npm run codegen, look at the difference and commit it`)
    process.exitCode = 1
  }
}
