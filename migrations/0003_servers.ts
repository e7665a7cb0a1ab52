import { type Kysely, sql } from "kysely"
import { render, type SchemaNames } from "../src/postgres/names.js"
import * as functions from "./0002_functions.js"

/** Changes to tables, in order. */
const UP: readonly string[] = []
/** What undoes them. */
const DOWN: readonly string[] = []

/**
 * What servers other than a freshly initialised one need: all functions anew, and the changes above. Workers of version 1 go on, since no function
 * changes its parameters or its result.
 */
export function up(names: SchemaNames, rendered: Readonly<Record<string, string>>): (db: Kysely<any>) => Promise<void> {
  return async (db) => {
    for (const text of UP) await sql.raw(render(text, names)).execute(db)
    await functions.up(rendered)(db)
    await sql.raw(render("update {schema}.meta set version = 2", names)).execute(db)
  }
}

export function down(names: SchemaNames): (db: Kysely<any>) => Promise<void> {
  return async (db) => {
    for (const text of DOWN) await sql.raw(render(text, names)).execute(db)
    await sql.raw(render("update {schema}.meta set version = 1", names)).execute(db)
  }
}
