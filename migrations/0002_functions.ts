import { type Kysely, sql } from "kysely"

/**
 * The SQL functions and procedures, from sql/functions. A later version that changes one adds a migration that runs this again: `create or replace` lets
 * workers of the version before go on, as long as the parameters stay.
 */
export function up(functions: Readonly<Record<string, string>>): (db: Kysely<any>) => Promise<void> {
  return async (db) => {
    for (const text of Object.values(functions)) await sql.raw(text).execute(db)
    await sql.raw(`select ${functionName(functions["partitions"] ?? "")}()`).execute(db)
  }
}

export function down(functions: Readonly<Record<string, string>>): (db: Kysely<any>) => Promise<void> {
  return async (db) => {
    for (const text of Object.values(functions)) await sql.raw(`drop routine if exists ${functionName(text)}`).execute(db)
  }
}

function functionName(text: string): string {
  const match = /^create or replace (?:function|procedure) ("(?:[^"]|"")+"\.\w+)\(/.exec(text)
  if (match === null) throw new Error(`No function name in: ${text.slice(0, 80)}`)
  return match[1] as string
}
