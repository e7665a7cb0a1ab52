/** A database of its own for each test file. */
import pg from "pg"
import { inject } from "vitest"
import { databasePrefix, withDatabase } from "./names.js"

export interface TestDatabase {
  /** For `configure({ connectionString })`, or for another process. */
  readonly url: string
  readonly name: string
  /** The rows of one statement, on a connection of the test's own. */
  query<Row extends object = any>(sql: string, params?: readonly unknown[]): Promise<Row[]>
  /** Drops the database, whoever is still connected to it. Without it the run's end does. */
  close(): Promise<void>
}

let made = 0

/**
 * Makes a database from the run's migrated template, in some 50 ms.
 *
 *     const db = await createDatabase()
 *     afterAll(() => db.close())
 */
export async function createDatabase(options: { migrated?: boolean } = {}): Promise<TestDatabase> {
  const server = inject("serverUrl")
  const name = `${databasePrefix(inject("runId"))}${process.pid}_${++made}`
  await admin(server, `create database "${name}" template ${options.migrated === false ? "template0" : `"${inject("template")}"`}`)
  const url = withDatabase(server, name)
  const pool = new pg.Pool({ connectionString: url, max: 4 })
  // The pool's own connections are cut when the database is dropped.
  pool.on("error", () => {})
  let closing: Promise<void> | undefined
  return {
    url,
    name,
    query: async (sql, params) => (await pool.query(sql, params as unknown[])).rows,
    close: () => {
      closing ??= (async () => {
        await pool.end()
        await admin(server, `drop database if exists "${name}" with (force)`)
      })()
      return closing
    },
  }
}

/** The URL of the server's administrative database, with the rights of a superuser. For tests about roles, rights and dropped connections. */
export function serverUrl(): string {
  return inject("serverUrl")
}

async function admin(url: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    await client.query(sql)
  } finally {
    await client.end()
  }
}
