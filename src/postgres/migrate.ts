/**
 * Migrations: the numbered list of migrations/, applied by Kysely's Migrator in one transaction under an advisory lock of the schema's own, so
 * that five processes that migrate at once end in one correct schema. The lock belongs to the transaction, not to the session: it needs no
 * direct connection, and a caller's transaction (`tx`) carries it like any other.
 */
import { type Kysely, Migrator, PostgresAdapter } from "kysely"
import pg from "pg"
import { migrationsFor } from "../../migrations/index.js"
import { SchemaVersionError } from "../errors.js"
import type { Executor } from "./executor.js"
import { connectionError, isConnectionLoss } from "./failure.js"
import { kyselyOver } from "./kysely.js"
import { render, type SchemaNames, schemaNames } from "./names.js"
import { parseConnectionString, targetOf } from "./pool.js"
import { sqlStateOf } from "./sqlstate.js"
import type { MigrationOutcome } from "./types.js"

/** The version of the schema that this code works on; the last migration writes the same into `meta`. */
const SCHEMA_VERSION = 1
/** PostgreSQL 14, the oldest major that its project still supports. */
const MIN_SERVER = 140_000
const TABLES = { migrationTableName: "migration", migrationLockTableName: "migration_lock" }

/** Our transaction holds the lock already. */
class LockedAdapter extends PostgresAdapter {
  override async acquireMigrationLock(): Promise<void> {}
  override async releaseMigrationLock(): Promise<void> {}
}

/** A migrator on a connection inside of a transaction that holds the lock. */
function migratorOn(db: Kysely<any>, names: SchemaNames): Migrator {
  return new Migrator({ db, provider: { getMigrations: async () => migrationsFor(names) }, migrationTableSchema: names.schema, ...TABLES })
}

/** Brings the schema up to date inside of the transaction that `executor` runs in. */
export async function migrateIn(executor: Executor, names: SchemaNames): Promise<MigrationOutcome> {
  await assertServer(executor)
  await executor.query("select pg_advisory_xact_lock(hashtextextended($1::text, 7020))::text as locked", [`pgtusk:${names.schema}`])
  await assertNotNewer(executor, names)
  let first: unknown
  const recording: Executor = {
    query: (text, params) =>
      executor.query<any>(text, params).catch((error: unknown) => {
        first ??= error
        throw error
      }),
  }
  const { error, results } = await migratorOn(
    kyselyOver(recording, () => new LockedAdapter()),
    names,
  ).migrateToLatest()
  // After a failure Kysely looks whether somebody else was faster, and learns only that the transaction is aborted.
  if (error !== undefined) throw sqlStateOf(error) === "25P02" ? first : error
  return { applied: (results ?? []).filter((r) => r.status === "Success").map((r) => r.migrationName) }
}

/** Brings the schema at `url` up to date. Throws ConnectionError, or SchemaVersionError for a schema newer than this code; then nothing has changed. */
export async function migrateUrl(url: string, options: { schema?: string } = {}): Promise<MigrationOutcome> {
  return migrateConfig(parseConnectionString(url), schemaNames(options.schema ?? "tusk"))
}

export async function migrateConfig(config: pg.ClientConfig, names: SchemaNames): Promise<MigrationOutcome> {
  const client = new pg.Client({ ...config, connectionTimeoutMillis: 10_000, application_name: "pgtusk migrate" })
  client.on("error", () => {})
  const target = targetOf(config)
  let committing = false
  try {
    await client.connect()
    await client.query("begin isolation level read committed")
    const outcome = await migrateIn(executorOf(client), names)
    committing = true
    await client.query("commit")
    return outcome
  } catch (error) {
    if (isConnectionLoss(error) || sqlStateOf(error)?.match(/^(28|3D000|42501|53300)/))
      throw connectionError(error, target, committing && isConnectionLoss(error))
    throw error
  } finally {
    await client.end().catch(() => {})
  }
}

function executorOf(client: pg.Client): Executor {
  return {
    async query<T>(text: string, params: readonly unknown[]) {
      const { rows, rowCount } = await client.query(text, params as unknown[])
      return { rows: rows as T[], rowCount }
    },
  }
}

async function assertServer(executor: Executor): Promise<void> {
  const { rows } = await executor.query<{ number: string; version: string }>(
    "select current_setting('server_version_num') as number, current_setting('server_version') as version",
    [],
  )
  const row = rows[0]
  if (row !== undefined && Number(row.number) < MIN_SERVER) {
    throw new SchemaVersionError(`pgtusk needs PostgreSQL 14 or newer; this server is ${row.version}`)
  }
}

async function storedVersion(executor: Executor, names: SchemaNames): Promise<{ version: number; min: number } | undefined> {
  const present = await executor.query<{ present: string | null }>("select to_regclass($1::text)::text as present", [`${names.quoted}.meta`])
  if (present.rows[0]?.present == null) return undefined
  const { rows } = await executor.query<{ version: number; min: number }>(render("select version, min_version as min from {schema}.meta", names), [])
  return rows[0] === undefined ? undefined : { version: Number(rows[0].version), min: Number(rows[0].min) }
}

async function assertNotNewer(executor: Executor, names: SchemaNames): Promise<void> {
  const stored = await storedVersion(executor, names)
  if (stored !== undefined && stored.version > SCHEMA_VERSION) throw newer(names, stored.version)
}

function newer(names: SchemaNames, version: number): SchemaVersionError {
  return new SchemaVersionError(
    `The schema "${names.schema}" has version ${version}, and this pgtusk knows ${SCHEMA_VERSION}: a newer pgtusk has migrated it; upgrade the package here`,
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

/** The SQL of all migrations after number `from`, for people who apply it with a tool of their own. */
export async function migrationSql(names: SchemaNames, from = 0): Promise<string> {
  const out: string[] = ["begin;"]
  const recorder: Executor = {
    async query(text: string) {
      out.push(`${text.trim()};`)
      return { rows: [], rowCount: 0 }
    },
  }
  const db = kyselyOver(recorder)
  if (from === 0) {
    out.push(
      `create schema if not exists ${names.quoted};`,
      `create table if not exists ${names.quoted}.migration (name varchar(255) primary key, timestamp varchar(255) not null);`,
      `create table if not exists ${names.quoted}.migration_lock (id varchar(255) primary key, is_locked integer not null default 0);`,
      `insert into ${names.quoted}.migration_lock (id, is_locked) values ('migration_lock', 0) on conflict do nothing;`,
    )
  }
  for (const [name, migration] of Object.entries(migrationsFor(names))) {
    if (Number.parseInt(name, 10) <= from) continue
    out.push("", `-- ${name}`)
    await migration.up(db)
    out.push(`insert into ${names.quoted}.migration (name, timestamp) values ('${name}', '${new Date(0).toISOString()}');`)
  }
  out.push("commit;", "")
  return out.join("\n")
}
