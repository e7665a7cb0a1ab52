import { type Kysely, sql } from "kysely"

/** Once made the functions. The last migration that changes one makes all of them, and no schema stops in between: here they would be made twice. */
export async function up(): Promise<void> {}

/**
 * Makes the SQL functions and procedures, from sql/functions. `create or replace` lets workers of the version before go on, as long as the parameters
 * stay.
 */
export function createAll(functions: Readonly<Record<string, string>>): (db: Kysely<any>) => Promise<void> {
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
