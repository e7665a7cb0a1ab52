/**
 * Migrations: the numbered list of migrations/, applied by Kysely's Migrator in one transaction under an advisory lock of the schema's own, so
 * that five processes that migrate at once end in one correct schema. The lock belongs to the transaction, not to the session: it needs no
 * direct connection, and a caller's transaction (`tx`) carries it like any other.
 *
 * Workers go on meanwhile. A statement that changes a table waits until nobody uses it, and everybody who comes later waits behind it: one long
 * transaction of an application would stop all workers. So a migration waits for a lock no longer than LOCK_TIMEOUT_MS, then undoes itself,
 * lets the others through for PAUSE_MS, and begins again. A host that vanishes in the middle holds up the workers until its silence is noticed.
 */
import { type Kysely, type Migration, Migrator, PostgresAdapter } from "kysely"
import type pg from "pg"
import { migrationsFor } from "../../../migrations/index.js"
import type { MigrationOutcome } from "../../api/client.js"
import { ConnectionError, TuskError } from "../../api/errors.js"
import { performance, sleep } from "../../lib/timers.js"
import { Connector } from "../run/connector.js"
import type { Executor } from "../run/executor.js"
import { connectionError, isConnectionLoss } from "../run/failure.js"
import { kyselyOver } from "../run/kysely.js"
import { END_WHEN_SILENT } from "../run/pool.js"
import { ASK_SETTINGS, beginOurs, needsOf, presentOf, type SessionNeeds } from "../run/session.js"
import { sqlStateOf } from "../run/sqlstate.js"
import { executorOf } from "../run/values.js"
import { render, type SchemaNames, schemaNames } from "../statements/names.js"
import { ADMIT_OWNER } from "../statements/row-security.js"
import { assertNotNewer, assertServer, SCHEMA_VERSION } from "./schema-version.js"

/** Longer than a stock `deadlock_timeout`: after that one, autovacuum gives way to us, and a deadlock is found. */
const LOCK_TIMEOUT_MS = 2_000
/** Longer than the wait, so that workers get more than half of the time. */
const PAUSE_MS = 3_000
const PATIENCE_MS = 60_000
/** A lock that did not come in time; a deadlock with a statement that takes the tables in another order. */
const IN_THE_WAY = ["55P03", "40P01"]
/** No fault of a migration: log-in, database, rights, a server that is full, stops, or takes no writes, a statement that was cancelled. */
const OF_THE_SERVER = /^(08|25006|25P0|28|3D|42501|53|57|58)/
const TABLES = { migrationTableName: "migration", migrationLockTableName: "migration_lock" }

/** What a version of the package brings: the version that its last migration writes into `meta`, and all its migrations. */
export interface Release {
  readonly version: number
  readonly migrationsFor: (names: SchemaNames) => Record<string, Migration>
}

const THIS_RELEASE: Release = { version: SCHEMA_VERSION, migrationsFor }

/** Our transaction holds the lock already. */
class LockedAdapter extends PostgresAdapter {
  override async acquireMigrationLock(): Promise<void> {}
  override async releaseMigrationLock(): Promise<void> {}
}

/** A migrator on a connection inside of a transaction that holds the lock. */
function migratorOn(db: Kysely<any>, names: SchemaNames, release: Release): Migrator {
  return new Migrator({ db, provider: { getMigrations: async () => release.migrationsFor(names) }, migrationTableSchema: names.schema, ...TABLES })
}

/**
 * Brings the schema up to date inside of the transaction that `executor` runs in.
 * @param lockTimeoutMs for the rest of the transaction, which is ended when it falls silent. Left out, it is as the caller's transaction has it: only he can begin that one again.
 */
export async function migrateIn(
  executor: Executor,
  names: SchemaNames,
  release: Release = THIS_RELEASE,
  lockTimeoutMs?: number,
): Promise<MigrationOutcome> {
  await assertServer(executor)
  const own = await pinSettings(executor)
  const outcome = await migratePinned(executor, names, release, lockTimeoutMs)
  // The rest of the transaction is the caller's. After a failure there is none.
  await applySettings(executor, own)
  return outcome
}

/** What the statements of migrations need of the session, for the transaction; returns what it had instead. */
async function pinSettings(executor: Executor): Promise<SessionNeeds["settings"]> {
  const { rows } = await executor.query<Record<string, string>>(ASK_SETTINGS, [])
  await applySettings(executor, needsOf(rows[0] ?? {}).settings)
  return presentOf(rows[0] ?? {})
}

async function applySettings(executor: Executor, settings: SessionNeeds["settings"]): Promise<void> {
  for (const { name, value } of settings) {
    await executor.query("select pg_catalog.set_config($1::pg_catalog.text, $2::pg_catalog.text, true) as setting", [name, value])
  }
}

async function migratePinned(executor: Executor, names: SchemaNames, release: Release, lockTimeoutMs: number | undefined): Promise<MigrationOutcome> {
  await executor.query("select pg_advisory_xact_lock(hashtextextended($1::text, 7020))::text as locked", [`pgtusk:${names.schema}`])
  if (lockTimeoutMs !== undefined) {
    // Only from here on: whoever waits for another migration stands in nobody's way. And should our host vanish, the locks go with us.
    await executor.query(`select set_config('lock_timeout', $1::text, true) as waits, ${END_WHEN_SILENT} as ends`, [`${lockTimeoutMs}ms`])
  }
  const admitOwner = (): Promise<unknown> => executor.query(render(ADMIT_OWNER, names), [])
  await admitOwner()
  await assertNotNewer(executor, names, release.version)
  let first: unknown
  const recording: Executor = {
    async query(text, params) {
      try {
        const outcome = await executor.query<any>(text, params)
        // Kysely's last table of its own, before it writes a row into it.
        if (/^create table .*"migration_lock"/.test(text)) await admitOwner()
        return outcome
      } catch (error) {
        first ??= error
        throw error
      }
    },
  }
  const { error, results } = await migratorOn(
    kyselyOver(recording, () => new LockedAdapter()),
    names,
    release,
  ).migrateToLatest()
  // After a failure Kysely looks whether somebody else was faster, and learns only that the transaction is aborted.
  if (error !== undefined) throw sqlStateOf(error) === "25P02" ? first : error
  return { applied: (results ?? []).filter((r) => r.status === "Success").map((r) => r.migrationName) }
}

/** Brings the schema at `url` up to date. Throws ConnectionError, or SchemaVersionError for a schema newer than this code; then nothing has changed. */
export async function migrateUrl(url: string, options: { schema?: string } = {}): Promise<MigrationOutcome> {
  return migrateOn(Connector.to(url), schemaNames(options.schema ?? "tusk"))
}

/**
 * The same, with the release and the patience of somebody's choice. Runs twice: the second finds nothing to do. Dies after the commit: it is done.
 * @throws ConnectionError when others' locks did not let it through for `patienceMs`; it names the session
 */
export async function migrateOn(
  connector: Connector,
  names: SchemaNames,
  release: Release = THIS_RELEASE,
  patienceMs: number = PATIENCE_MS,
): Promise<MigrationOutcome> {
  const deadline = performance.now() + patienceMs
  for (;;) {
    try {
      return await migrateOnce(connector, names, release)
    } catch (error) {
      if (!IN_THE_WAY.includes(sqlStateOf(error) ?? "")) throw error
      if (performance.now() + PAUSE_MS > deadline) throw await blocked(connector, names, error)
    }
    await sleep(PAUSE_MS)
  }
}

async function migrateOnce(connector: Connector, names: SchemaNames, release: Release): Promise<MigrationOutcome> {
  return withClient(connector, async (client, commits) => {
    await client.query(beginOurs())
    const outcome = await migrateIn(executorOf(client), names, release, LOCK_TIMEOUT_MS)
    commits()
    await client.query("commit")
    return outcome
  })
}

/** A connection that is lost once `use` has said that it commits: the error says that nobody knows. */
async function withClient<T>(connector: Connector, use: (client: pg.Client, commits: () => void) => Promise<T>): Promise<T> {
  let client: pg.Client | undefined
  let committing = false
  try {
    client = await connector.connect("migrate")
    return await use(client, () => {
      committing = true
    })
  } catch (error) {
    // Ours already; or a lock that did not come, which the caller waits for.
    if (error instanceof TuskError || IN_THE_WAY.includes(sqlStateOf(error) ?? "")) throw error
    const ofServer = client === undefined || isConnectionLoss(error) || OF_THE_SERVER.test(sqlStateOf(error) ?? "")
    if (ofServer) throw connectionError(error, connector.target, committing && isConnectionLoss(error))
    const message = error instanceof Error ? error.message : String(error)
    throw new TuskError("MIGRATION", `The migration on Postgres at ${connector.target} failed, and nothing has changed: ${message}`, { cause: error })
  } finally {
    await client?.end().catch(() => {})
  }
}

/** Who has held locks on tables of the schema for the longest time. */
async function blocked(connector: Connector, names: SchemaNames, cause: unknown): Promise<ConnectionError> {
  const holders = await withClient(connector, (client) =>
    client.query<{ pid: number; app: string; state: string; seconds: number; tables: string[] }>(
      `select a.pid, a.application_name as app, coalesce(a.state, '') as state, extract(epoch from clock_timestamp() - a.xact_start)::integer as seconds,
              array_agg(distinct c.relname::text order by c.relname::text) as tables
       from pg_locks l join pg_class c on c.oid = l.relation join pg_namespace n on n.oid = c.relnamespace join pg_stat_activity a on a.pid = l.pid
       where l.granted and l.database = (select oid from pg_database where datname = current_database())
         and n.nspname = $1 and c.relkind in ('r', 'p') and a.pid <> pg_backend_pid()
       group by 1, 2, 3, a.xact_start order by a.xact_start limit 1`,
      [names.schema],
    ),
  ).catch(() => undefined)
  const by = holders?.rows[0]
  const who =
    by === undefined
      ? "somebody"
      : `the session ${by.pid}${by.app === "" ? "" : ` ("${by.app}")`}, ${by.state}, whose transaction began ${by.seconds} s ago and has used ${by.tables.join(", ")},`
  return new ConnectionError(
    `The schema "${names.schema}" could not be migrated: ${who} holds locks on its tables; end that transaction, then migrate again. Nothing has changed`,
    { cause },
  )
}

/** The SQL of all migrations after number `from`, for people who apply it with a tool of their own. */
export async function migrationSql(names: SchemaNames, from = 0): Promise<string> {
  const out: string[] = ["begin;"]
  // Of tables that are in use: better fail, and be run again, than stop all workers for as long as somebody holds one.
  if (from > 0) out.push(`set local lock_timeout = '${LOCK_TIMEOUT_MS}ms';`)
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
      `${render(ADMIT_OWNER, names)};`,
      `insert into ${names.quoted}.migration_lock (id, is_locked) values ('migration_lock', 0) on conflict do nothing;`,
    )
  }
  if (from > 0) out.push(`${render(ADMIT_OWNER, names)};`)
  for (const [name, migration] of Object.entries(migrationsFor(names))) {
    if (Number.parseInt(name, 10) <= from) continue
    out.push("", `-- ${name}`)
    await migration.up(db)
    out.push(`insert into ${names.quoted}.migration (name, timestamp) values ('${name}', '${new Date(0).toISOString()}');`)
  }
  out.push("commit;", "")
  return out.join("\n")
}
