/** Which schemas this code works on: the version that `meta` holds, against the one that the code knows. */
import { SchemaVersionError } from "../../api/errors.js"
import type { Executor } from "../run/executor.js"
import { render, type SchemaNames } from "../statements/names.js"
import { HIDDEN_TABLES, hiddenRows } from "../statements/row-security.js"

/** The version of the schema that this code works on; the last migration writes the same into `meta`. */
export const SCHEMA_VERSION = 2
/** PostgreSQL 14, the oldest major that its project still supports. */
const MIN_SERVER = 140_000

export async function assertServer(executor: Executor): Promise<void> {
  const { rows } = await executor.query<{ number: string; version: string }>(
    "select pg_catalog.current_setting('server_version_num') as number, pg_catalog.current_setting('server_version') as version",
    [],
  )
  const row = rows[0]
  if (row !== undefined && Number(row.number) < MIN_SERVER) {
    throw new SchemaVersionError(`pgtusk needs PostgreSQL 14 or newer; this server is ${row.version}`)
  }
}

/** @throws ConnectionError when a table of the schema hides its rows from the user: what `meta` says could not be seen either */
async function storedVersion(executor: Executor, names: SchemaNames): Promise<{ version: number; min: number } | undefined> {
  const found = await executor.query<{ present: string | null; hidden: string | null }>(
    `select pg_catalog.to_regclass($2::pg_catalog.text)::pg_catalog.text as present, ${HIDDEN_TABLES} as hidden`,
    [names.quoted, `${names.quoted}.meta`],
  )
  const { present = null, hidden = null } = found.rows[0] ?? {}
  if (present === null) return undefined
  if (hidden !== null) throw hiddenRows(hidden, names)
  const { rows } = await executor.query<{ version: number; min: number }>(render("select version, min_version as min from {schema}.meta", names), [])
  return rows[0] === undefined ? undefined : { version: Number(rows[0].version), min: Number(rows[0].min) }
}

/** Throws SchemaVersionError for a schema that somebody has brought further than `known`. */
export async function assertNotNewer(executor: Executor, names: SchemaNames, known: number): Promise<void> {
  const stored = await storedVersion(executor, names)
  if (stored !== undefined && stored.version > known) throw newer(names, stored.version, known)
}

/** What a process says that meets a schema which does not admit its package. */
export function newer(names: SchemaNames, version: number, known: number = SCHEMA_VERSION): SchemaVersionError {
  return new SchemaVersionError(
    `The schema "${names.schema}" has version ${version}, and this pgtusk knows ${known}: a newer pgtusk has migrated it; upgrade the package here`,
  )
}

/** Throws SchemaVersionError unless the schema is one that this code can work on. */
export async function assertSchema(executor: Executor, names: SchemaNames): Promise<void> {
  await assertServer(executor)
  const stored = await storedVersion(executor, names)
  const how = "run `npx pgtusk migrate` (or `await tusk.migrate()`, or take the SQL from `npx pgtusk migrate --sql`)"
  if (stored === undefined) throw new SchemaVersionError(`The database has no pgtusk schema "${names.schema}"; ${how}`)
  if (stored.version < SCHEMA_VERSION) {
    throw new SchemaVersionError(`The schema "${names.schema}" has version ${stored.version}, and this pgtusk needs ${SCHEMA_VERSION}; ${how}`)
  }
  // A newer schema that still admits this version lets old workers run beside new ones during an upgrade.
  if (stored.version > SCHEMA_VERSION && stored.min > SCHEMA_VERSION) throw newer(names, stored.version)
}
